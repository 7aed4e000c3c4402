package suite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// maintainer is a service that keeps an event log.
type maintainer interface {
	Maintain(ctx context.Context, task string, out io.Writer) error
}

// Maintain starts the engines alone and does a maintenance task (see libs/service) of the services, one after the other. The suite must
// not run on the same directory. A failure of one keeps no other from being maintained.
func Maintain(ctx context.Context, c Config, task string) (err error) {
	if _, err := os.Stat(c.path("seal-key")); err != nil {
		return fmt.Errorf("--data: there is no suite in %s: %w", c.Data, err)
	}
	release, err := lockData(&c)
	if err != nil {
		return err
	}
	defer release()
	log, closeLog, err := openLog(c)
	if err != nil {
		return err
	}
	defer closeLog()
	e, err := startEngines(ctx, c, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.stop()) }()
	b, err := e.connect(ctx)
	if err != nil {
		return err
	}
	defer b.Close()
	s, err := newServices(c, e, log, b)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range ServiceNames {
		if name != "gateway" && c.runs(name) {
			errs = append(errs, s.maintain(ctx, name, task))
		}
	}
	return errors.Join(errs...)
}

func (s *services) maintain(ctx context.Context, name, task string) error {
	built, err := s.build(ctx, name)
	if err != nil {
		return err
	}
	service, ok := built.(maintainer)
	if !ok {
		return fmt.Errorf("%s: keeps no event log", name)
	}
	if err := service.Maintain(ctx, task, s.config.Out); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
