package domain

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/problem"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	"github.com/tollgate/tollgate/services/catalog/internal/document"
)

// APIVersion is one immutable revision of an API's contract. How it is served can be configured.
type APIVersion struct {
	ID, API, Name string
	Stage         string
	// DocumentSHA256 is the digest of the OpenAPI document, which never changes.
	DocumentSHA256 string
	// Spec is the configuration: without document and stage.
	Spec *catalogv1.APIVersionSpec
}

// Evolve applies an event.
func (v APIVersion) Evolve(event proto.Message) APIVersion {
	switch e := event.(type) {
	case *catalogv1.APIVersionRegistered:
		return APIVersion{
			ID: e.GetApiVersion(), API: e.GetApi(), Name: e.GetName(), Stage: e.GetSpec().GetStage(),
			DocumentSHA256: e.GetDocumentSha256(), Spec: Configuration(e.GetSpec()),
		}
	case *catalogv1.APIVersionConfigured:
		v.Spec = Configuration(e.GetSpec())
	case *catalogv1.APIVersionStageChanged:
		v.Stage = e.GetTo()
	}
	return v
}

// Configuration returns the part of a specification that can be changed by configuring: without document and stage.
func Configuration(spec *catalogv1.APIVersionSpec) *catalogv1.APIVersionSpec {
	c, _ := proto.Clone(spec).(*catalogv1.APIVersionSpec)
	c.Openapi, c.Stage = "", ""
	return c
}

// RegisterAPIVersion takes in a version of an API with its document, which was read from spec.openapi. A version without
// a stage is a draft. lint is how the document complies with the tenant's ruleset; nil where that is not known.
func RegisterAPIVersion(id string, api API, name string, spec *catalogv1.APIVersionSpec, doc document.Document, lint *catalogv1.LintSummary, now time.Time) ([]proto.Message, error) {
	if api.Deleted {
		return nil, api.deleted()
	}
	kept := Configuration(spec)
	if kept.Stage = spec.GetStage(); kept.GetStage() == "" {
		kept.Stage = Draft
	}
	if err := checkVersion(kept, nil, kept.GetStage(), doc.Operations, now); err != nil {
		return nil, err
	}
	compressed, err := document.Compress(doc.Text)
	if err != nil {
		return nil, err
	}
	if len(compressed) > maxCompressed {
		return nil, problem.NewTooLarge("document-too-large", "The OpenAPI document is %d bytes long when compressed; the most is %d MiB.", len(compressed), maxCompressed>>20)
	}
	var original []byte
	if doc.Original != "" {
		if original, err = document.Compress(doc.Original); err != nil {
			return nil, err
		}
	}
	return []proto.Message{&catalogv1.APIVersionRegistered{
		ApiVersion: id, Api: api.ID, Name: name, Spec: kept, Operations: doc.Operations,
		DocumentSha256: doc.SHA256, DocumentVersion: doc.Version, Document: compressed, Original: original, Lint: lint,
	}}, nil
}

// Put makes the version as the spec says: what is configured and the stage, which is left alone where the spec has none. The
// document must be the one that was registered; it may be left out. operations are those of the document.
func (v APIVersion) Put(spec *catalogv1.APIVersionSpec, operations []*catalogv1.Operation, now time.Time) ([]proto.Message, error) {
	if text := spec.GetOpenapi(); text != "" && document.Digest(text) != v.DocumentSHA256 {
		return nil, problem.NewConflict("api-version-immutable", "The API version %s has another OpenAPI document already, and the document of a version never changes. Register a new version, under another name.", v.Name).
			With(problem.Field{Path: document.Path, Message: "is not the document that was registered; register a new version"})
	}
	stage := spec.GetStage()
	if stage == "" {
		stage = v.Stage
	}
	if err := checkVersion(spec, v.Spec, stage, operations, now); err != nil {
		return nil, err
	}
	events, err := v.configure(Configuration(spec))
	if err != nil || stage == v.Stage {
		return events, err
	}
	if err := checkTransition(v.Name, v.Stage, stage); err != nil {
		return nil, err
	}
	return append(events, v.stageChanged(stage)), nil
}

func (v APIVersion) configure(spec *catalogv1.APIVersionSpec) ([]proto.Message, error) {
	switch {
	case proto.Equal(spec, v.Spec):
		return nil, nil
	case v.Stage == Retired:
		return nil, problem.NewConflict("api-version-retired", "The API version %s is retired and cannot be changed; register a new version.", v.Name)
	}
	return []proto.Message{&catalogv1.APIVersionConfigured{ApiVersion: v.ID, Spec: spec}}, nil
}

// Ending says when and how a version that becomes deprecated ends; both may be empty.
type Ending struct {
	// Sunset is a date or a time (see Sunset).
	Sunset string
	// Link is the URL of how to move to another version.
	Link string
}

// ChangeStage moves the version along its life cycle. An ending belongs to the stage deprecated; what it leaves empty stays as it
// is, and a version that is published again has none.
func (v APIVersion) ChangeStage(stage string, e Ending, now time.Time) ([]proto.Message, error) {
	var fields problem.Fields
	checkStage("stage", stage, &fields)
	if e != (Ending{}) && stage != Deprecated {
		fields.Add("sunset", "belongs to the stage deprecated, as deprecationLink does, and not to %s", stage)
	}
	if err := fields.Err("stage-invalid", "The stage is not valid."); err != nil {
		return nil, err
	}
	spec := Configuration(v.Spec)
	switch stage {
	case Deprecated:
		spec.Sunset, spec.DeprecationLink = cmp.Or(e.Sunset, spec.GetSunset()), cmp.Or(e.Link, spec.GetDeprecationLink())
	case Published:
		spec.Sunset, spec.DeprecationLink = "", ""
	}
	if stage != v.Stage {
		if err := checkTransition(v.Name, v.Stage, stage); err != nil {
			return nil, err
		}
	}
	if needsUpstream(stage) && len(v.Spec.GetUpstream().GetTargets()) == 0 {
		return nil, problem.NewConflict("upstream-missing", "The API version %s has no upstream and cannot become %s; configure an upstream first.", v.Name, stage)
	}
	checkSunset(spec, v.Spec, stage, now, &fields)
	if err := fields.Err(versionInvalid, versionTitle); err != nil {
		return nil, err
	}
	events, err := v.configure(spec)
	if err != nil || stage == v.Stage {
		return events, err
	}
	return append(events, v.stageChanged(stage)), nil
}

func (v APIVersion) stageChanged(to string) proto.Message {
	return &catalogv1.APIVersionStageChanged{ApiVersion: v.ID, From: v.Stage, To: to}
}

// Validates says whether requests are checked against the document.
func Validates(spec *catalogv1.APIVersionSpec) bool {
	for _, p := range spec.GetPolicies() {
		if p.GetKind() == policyValidate && p.GetRequest() {
			return true
		}
	}
	return false
}

const (
	versionInvalid = "api-version-invalid"
	versionTitle   = "The API version is not valid."
)

// What gateways are told of a version travels in one message of 16 MiB: these, the operations, what they ask of callers and the mock
// answers have bounds that add up to less.
const (
	maxCompressed = 6 << 20
	maxSpec       = 512 << 10
)

// checkVersion checks a specification; before is the one that the version had, nil for a new version.
func checkVersion(spec, before *catalogv1.APIVersionSpec, stage string, operations []*catalogv1.Operation, now time.Time) error {
	var fields problem.Fields
	checkStage("spec.stage", stage, &fields)
	checkRoute(spec.GetRoute(), &fields)
	checkUpstream(spec.GetUpstream(), needsUpstream(stage), &fields)
	checkEach("spec.authenticate", spec.GetAuthenticate(), &fields, oneOf(APIKey, OAuth2, JWT))
	checkIssuers(spec, &fields)
	checkAccess(spec, operations, &fields)
	checkMeters(spec.GetMeters(), &fields)
	checkPolicies(spec.GetPolicies(), &fields)
	checkSunset(spec, before, stage, now, &fields)
	if size := proto.Size(Configuration(spec)); size > maxSpec {
		fields.Add("spec", "is %d bytes long without the document; at most %d are taken", size, maxSpec)
	}
	if before == nil {
		checkReferenceHosts(spec.GetExternalReferences(), &fields)
	} else if !slices.Equal(spec.GetExternalReferences(), before.GetExternalReferences()) {
		fields.Add("spec.externalReferences", "differs from what the version was registered with, when its document took in what it refers to; register a new version")
	}
	return fields.Err(versionInvalid, versionTitle)
}

// CheckReferenceHosts checks the hosts that a document may refer to, before any is asked.
func CheckReferenceHosts(hosts []string) error {
	var fields problem.Fields
	checkReferenceHosts(hosts, &fields)
	return fields.Err(versionInvalid, versionTitle)
}

func checkReferenceHosts(hosts []string, fields *problem.Fields) {
	if len(hosts) > maxHosts {
		fields.Add("spec.externalReferences", "has %d hosts; at most %d are taken", len(hosts), maxHosts)
	}
	checkEach("spec.externalReferences", hosts, fields, func(host string) string {
		name, port, withPort := strings.Cut(host, ":")
		_, err := strconv.ParseUint(port, 10, 16)
		if len(name) > 253 || strings.HasPrefix(name, "*") || !hostPattern.MatchString(name) || withPort && err != nil {
			return `is not a host name in lower case as in "schemas.example.com", with a port if it is not that of https`
		}
		return ""
	})
}
