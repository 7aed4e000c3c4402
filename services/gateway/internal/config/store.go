// Package config owns the gateway's configuration: the documents that the other services publish, compiled.
//
// Documents come from key-value buckets and from the copy on the local disk. Each is compiled beside the old one; an older revision
// is ignored, one that does not compile leaves the old one serving and is reported. What is missing removes nothing: only a document
// that says so does. Requests read an immutable Snapshot, and an application's entitlements, through atomic pointers. Only the
// gateway's own packages import this one.
package config

import (
	"fmt"
	"hash/crc64"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/bus"
	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"

	"github.com/tollgate/tollgate/services/gateway/internal/bearer"
	"github.com/tollgate/tollgate/services/gateway/internal/limit"
	"github.com/tollgate/tollgate/services/gateway/internal/route"
	"github.com/tollgate/tollgate/services/gateway/internal/upstream"
)

// Routes is the table of all versions' operations.
type Routes = route.Table[*API, *Operation]

// Match is the outcome of a look-up in Routes.
type Match = route.Match[*API, *Operation]

// Snapshot is the configuration of routes at one moment. It never changes.
type Snapshot struct {
	Routes *Routes
	// Revision is the newest of any document in it.
	Revision uint64
}

// Store holds the configuration. It is safe for concurrent use.
type Store struct {
	Parts
	snapshot atomic.Pointer[Snapshot]
	// entitlements maps an application to its *[]*Entitlement.
	entitlements sync.Map

	mu        sync.Mutex
	apis      map[string]heldAPI
	byKey     map[string]*Entitlement
	rejected  map[string]string // by bucket and key
	conflicts map[string]string // by key of an API document
	revisions map[string]uint64
	stale     bool // apis changed since the snapshot was made
}

type heldAPI struct {
	revision uint64
	sum      uint64
	api      *API // nil when the version is not served
}

var table = crc64.MakeTable(crc64.ECMA)

// older says whether a document says nothing new: it is older than the one held, or the same.
func older(revision, held, sum, heldSum uint64) bool {
	return revision < held || revision == held && sum == heldSum
}

// Parts is what compiled documents point to, held for as long as the gateway lives.
type Parts struct {
	Pools   *upstream.Pools
	Rates   *limit.Rates
	Quotas  *limit.Quotas
	Issuers *bearer.KeySets
}

// NewStore returns an empty store.
func NewStore(p Parts) *Store {
	s := &Store{
		Parts: p, apis: map[string]heldAPI{}, byKey: map[string]*Entitlement{}, rejected: map[string]string{},
		conflicts: map[string]string{}, revisions: map[string]uint64{},
	}
	s.snapshot.Store(&Snapshot{Routes: route.New[*API, *Operation]()})
	return s
}

// Snapshot returns the configuration of routes as it is now.
func (s *Store) Snapshot() *Snapshot { return s.snapshot.Load() }

// Entitlements returns what an application may use. The slice is not to be changed.
func (s *Store) Entitlements(application string) []*Entitlement {
	if v, ok := s.entitlements.Load(application); ok {
		return *v.(*[]*Entitlement)
	}
	return nil
}

// Apply takes a document of a bucket in. It reports whether the document is newer than what was held and compiled; the error says
// why it did not. Routes serve it after the next Publish.
func (s *Store) Apply(bucket, key string, value []byte) (bool, error) {
	var err error
	var news bool
	switch bucket {
	case bus.APIsBucket:
		news, err = s.applyAPI(key, value)
	case bus.EntitlementsBucket:
		news, err = s.applyEntitlement(key, value)
	default:
		return false, fmt.Errorf("bucket %s is not known", bucket)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.rejected[bucket+"/"+key] = err.Error()
		return false, fmt.Errorf("document %s of %s: %w", key, bucket, err)
	}
	if news {
		delete(s.rejected, bucket+"/"+key)
	}
	return news, nil
}

func (s *Store) applyAPI(key string, value []byte) (bool, error) {
	var d gatewayv1.APIDocument
	if err := proto.Unmarshal(value, &d); err != nil {
		return false, fmt.Errorf("is not a gateway.v1.APIDocument: %w", err)
	}
	s.mu.Lock()
	held, known := s.apis[key]
	s.mu.Unlock()
	sum := crc64.Checksum(value, table)
	if known && older(d.GetRevision(), held.revision, sum, held.sum) {
		return false, nil
	}
	var api *API
	if !d.GetRemoved() && routed(d.GetStage()) {
		var err error
		if api, err = compileAPI(key, &d, s.Pools, s.Issuers); err != nil {
			return false, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apis[key] = heldAPI{revision: d.GetRevision(), sum: sum, api: api}
	s.revisions[bus.APIsBucket] = max(s.revisions[bus.APIsBucket], d.GetRevision())
	s.stale = true
	return true, nil
}

func (s *Store) applyEntitlement(key string, value []byte) (bool, error) {
	var d gatewayv1.EntitlementDocument
	if err := proto.Unmarshal(value, &d); err != nil {
		return false, fmt.Errorf("is not a gateway.v1.EntitlementDocument: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.byKey[key]
	sum := crc64.Checksum(value, table)
	if old != nil && older(d.GetRevision(), old.Revision, sum, old.sum) {
		return false, nil
	}
	e, err := compileEntitlement(&d, s.Rates, s.Quotas)
	if err != nil {
		return false, err
	}
	if want := e.Application + "." + e.Product; key != want {
		return false, fmt.Errorf("the key is not %s, as the document says", want)
	}
	e.sum = sum
	s.byKey[key] = e
	s.revisions[bus.EntitlementsBucket] = max(s.revisions[bus.EntitlementsBucket], e.Revision)
	var list []*Entitlement
	for _, other := range s.Entitlements(e.Application) {
		if other.Product != e.Product {
			list = append(list, other)
		}
	}
	list = append(list, e)
	s.entitlements.Store(e.Application, &list)
	return true, nil
}

// Publish makes the routes as applied so far the ones that requests are matched with. Calls in flight finish on the old ones.
func (s *Store) Publish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stale {
		return
	}
	s.stale = false
	next := &Snapshot{Routes: route.New[*API, *Operation]()}
	clear(s.conflicts)
	// In the order of the keys, so that every gateway lets the same version win where two claim the same route, after every restart.
	for _, key := range slices.Sorted(maps.Keys(s.apis)) {
		if api := s.apis[key].api; api != nil {
			s.addRoutes(next, api)
		}
	}
	s.snapshot.Store(next)
}

func (s *Store) addRoutes(next *Snapshot, api *API) {
	next.Revision = max(next.Revision, api.Revision)
	for _, host := range api.Hosts {
		next.Routes.AddPrefix(host, api.Prefix, api)
		for _, o := range api.Operations {
			if taken := next.Routes.Add(host, api.Prefix, o.Method, o.relative, api, o); taken != nil {
				s.conflicts[api.Key] = fmt.Sprintf("%s %s on host %s is not served: version %s has it", o.Method, o.Template, host, (*taken).Version)
			}
		}
	}
}

// Sweep drops what no document needs any more: rate limits of subscriptions that have ended. It is called now and then.
func (s *Store) Sweep(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	used := map[*limit.Rate]bool{}
	for _, e := range s.byKey {
		for _, r := range e.Rates {
			used[r] = true
		}
	}
	s.Rates.Sweep(used, now)
}

// Report returns the newest revision applied by bucket, and what is not served, with the reason.
func (s *Store) Report() (revisions map[string]uint64, rejected map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rejected = maps.Clone(s.rejected)
	for key, why := range s.conflicts {
		rejected[bus.APIsBucket+"/"+key] = why
	}
	return maps.Clone(s.revisions), rejected
}
