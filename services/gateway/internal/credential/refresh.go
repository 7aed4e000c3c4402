package credential

import (
	"context"
	"encoding/hex"
	"sync"
)

// Refresh fetches every credential that is held again: after the watch was interrupted, something may have changed unseen.
func (s *Store) Refresh(ctx context.Context) {
	var workers sync.WaitGroup
	names := make(chan digest)
	for range maxFetches / 4 {
		workers.Go(func() {
			for d := range names {
				s.refresh(ctx, d)
			}
		})
	}
	defer workers.Wait()
	defer close(names)
	for i := range s.shards {
		for _, d := range s.shards[i].digests() {
			select {
			case names <- d:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (sh *shard) digests() []digest {
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	all := make([]digest, 0, len(sh.known))
	for d := range sh.known {
		all = append(all, d)
	}
	return all
}

func (s *Store) refresh(ctx context.Context, d digest) {
	attempt, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	name := hex.EncodeToString(d[:])
	document, err := s.get(attempt, name)
	if err != nil {
		return // that a document is missing removes nothing
	}
	sh := s.shard(&d)
	sh.mu.Lock()
	sh.hold(d, document)
	sh.mu.Unlock()
	s.save(sh, d, name)
}
