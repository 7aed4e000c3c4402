package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/wneessen/go-mail"
)

// mailer sends mail over SMTP (RFC 5321, with STARTTLS or TLS), or writes it to files.
type mailer struct {
	from   string
	folder string // of the file outbox
	host   string // of the SMTP server
	opts   []mail.Option
}

func newMailer(c Config) (*mailer, error) {
	m := &mailer{from: c.MailFrom}
	if c.MailURL == "" {
		return m, nil
	}
	u, err := url.Parse(c.MailURL)
	if err != nil {
		return nil, errors.New("mail-url: is not a URL") // which may hold a password
	}
	if err := mail.NewMsg().From(c.MailFrom); err != nil {
		return nil, fmt.Errorf("mail-from: %q is not a mail address", c.MailFrom)
	}
	switch u.Scheme {
	case "file":
		if u.Host != "" || !filepath.IsAbs(u.Path) {
			return nil, errors.New("mail-url: give an absolute path, as in file:///var/mail")
		}
		m.folder = u.Path
	case "smtp", "smtps":
		m.host = u.Hostname()
		if m.host == "" {
			return nil, errors.New("mail-url: names no host; give one as in smtp://USER:PASSWORD@mail.example.com:587")
		}
		m.opts, err = smtpOptions(u)
	default:
		err = fmt.Errorf("mail-url: the scheme %q is not smtp, smtps or file", u.Scheme)
	}
	return m, err
}

func smtpOptions(u *url.URL) ([]mail.Option, error) {
	opts := []mail.Option{mail.WithTimeout(sendTimeout), mail.WithTLSPolicy(mail.TLSMandatory)}
	port := 587
	switch {
	case u.Scheme == "smtps":
		port = 465
		opts = append(opts, mail.WithSSL())
	case loopback(u.Hostname()):
		opts = append(opts, mail.WithTLSPolicy(mail.TLSOpportunistic))
	}
	if u.Port() != "" {
		var err error
		if port, err = strconv.Atoi(u.Port()); err != nil {
			return nil, fmt.Errorf("mail-url: the port %q is not a number", u.Port())
		}
	}
	opts = append(opts, mail.WithPort(port))
	if u.User != nil {
		password, _ := u.User.Password()
		opts = append(opts, mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover), mail.WithUsername(u.User.Username()), mail.WithPassword(password))
	}
	return opts, nil
}

// loopback hosts may be spoken to without TLS: nobody listens on the way.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

func (m *mailer) send(ctx context.Context, id string, content []byte) error {
	var what Mail
	if err := json.Unmarshal(content, &what); err != nil {
		return fmt.Errorf("%w: %w", errPermanent, err)
	}
	message, err := m.compose(id, what)
	if err != nil {
		return fmt.Errorf("%w: %w", errPermanent, err)
	}
	switch {
	case m.folder != "":
		return m.write(id, message)
	case m.host == "":
		return errors.New("no mail server is configured: set mail-url")
	}
	client, err := mail.NewClient(m.host, m.opts...)
	if err != nil {
		return fmt.Errorf("mail server: %w", err)
	}
	if err := client.DialAndSendWithContext(ctx, message); err != nil {
		return withoutAddresses(err)
	}
	return nil
}

// withoutAddresses keeps what the server said and leaves out whom the mail was for: the error is shown and kept.
func withoutAddresses(err error) error {
	var failure *mail.SendError
	if !errors.As(err, &failure) {
		return err
	}
	text := fmt.Sprintf("the mail server refused the mail (%s, code %d)", failure.Reason, failure.ErrorCode())
	if failure.IsTemp() || failure.ErrorCode() < 500 {
		return errors.New(text)
	}
	return fmt.Errorf("%w: %s", errPermanent, text)
}

func (m *mailer) compose(id string, what Mail) (*mail.Msg, error) {
	message := mail.NewMsg()
	if err := message.From(m.from); err != nil {
		return nil, fmt.Errorf("sender: %w", err)
	}
	for _, to := range what.To {
		if err := message.AddTo(to); err != nil {
			return nil, errors.New("a recipient is not a mail address")
		}
	}
	message.Subject(oneLine(what.Subject))
	message.SetMessageIDWithValue(id + "@tollgate")
	message.SetDate()
	message.SetGenHeader(mail.HeaderXAutoResponseSuppress, "All")
	message.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834
	message.SetBodyString(mail.TypeTextPlain, what.Text)
	if what.HTML != "" {
		message.AddAlternativeString(mail.TypeTextHTML, what.HTML)
	}
	for _, a := range what.Attachments {
		if err := message.AttachReader(a.Name, bytes.NewReader(a.Content), mail.WithFileContentType(mail.ContentType(a.MediaType))); err != nil {
			return nil, fmt.Errorf("attachment: %w", err)
		}
	}
	return message, nil
}

// oneLine keeps a text that a user gave from adding header fields.
func oneLine(text string) string {
	return strings.Join(strings.Fields(text), " ")
}

// write puts the mail into the file outbox, whole or not at all. A mail that is tried again replaces itself.
func (m *mailer) write(id string, message *mail.Msg) error {
	if err := os.MkdirAll(m.folder, 0o700); err != nil {
		return fmt.Errorf("file outbox: %w", err)
	}
	file, err := os.CreateTemp(m.folder, ".mail-*")
	if err != nil {
		return fmt.Errorf("file outbox: %w", err)
	}
	_, err = message.WriteTo(file)
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), filepath.Join(m.folder, id+".eml"))
	}
	if err != nil {
		_ = os.Remove(file.Name())
		return fmt.Errorf("file outbox: %w", err)
	}
	return nil
}
