package domain

import (
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
// a stage is a draft.
func RegisterAPIVersion(id string, api API, name string, spec *catalogv1.APIVersionSpec, doc document.Document) ([]proto.Message, error) {
	if api.Deleted {
		return nil, api.deleted()
	}
	full, _ := proto.Clone(spec).(*catalogv1.APIVersionSpec)
	if full.Stage == "" {
		full.Stage = Draft
	}
	if err := checkVersion(full, full.GetStage()); err != nil {
		return nil, err
	}
	return []proto.Message{&catalogv1.APIVersionRegistered{
		ApiVersion: id, Api: api.ID, Name: name, Spec: full, Operations: doc.Operations,
		DocumentSha256: doc.SHA256, DocumentVersion: doc.Version,
	}}, nil
}

// Put makes the version as the spec says: what is configured and the stage, which is left alone where the spec has none. The
// document must be the one that was registered; it may be left out.
func (v APIVersion) Put(spec *catalogv1.APIVersionSpec) ([]proto.Message, error) {
	if text := spec.GetOpenapi(); text != "" && document.Digest(text) != v.DocumentSHA256 {
		return nil, problem.NewConflict("api-version-immutable", "The API version %s has another OpenAPI document already, and the document of a version never changes. Register a new version, under another name.", v.Name).
			With(problem.Field{Path: document.Path, Message: "is not the document that was registered; register a new version"})
	}
	stage := spec.GetStage()
	if stage == "" {
		stage = v.Stage
	}
	if err := checkVersion(spec, stage); err != nil {
		return nil, err
	}
	var events []proto.Message
	if configured := Configuration(spec); !proto.Equal(configured, v.Spec) {
		if v.Stage == Retired {
			return nil, problem.NewConflict("api-version-retired", "The API version %s is retired and cannot be changed; register a new version.", v.Name)
		}
		events = append(events, &catalogv1.APIVersionConfigured{ApiVersion: v.ID, Spec: configured})
	}
	if stage == v.Stage {
		return events, nil
	}
	if err := checkTransition(v.Name, v.Stage, stage); err != nil {
		return nil, err
	}
	return append(events, v.stageChanged(stage)), nil
}

// ChangeStage moves the version along its life cycle.
func (v APIVersion) ChangeStage(stage string) ([]proto.Message, error) {
	var fields problem.Fields
	checkStage("stage", stage, &fields)
	if err := fields.Err("stage-invalid", "The stage is not valid."); err != nil {
		return nil, err
	}
	if stage == v.Stage {
		return nil, nil
	}
	if err := checkTransition(v.Name, v.Stage, stage); err != nil {
		return nil, err
	}
	if needsUpstream(stage) && len(v.Spec.GetUpstream().GetTargets()) == 0 {
		return nil, problem.NewConflict("upstream-missing", "The API version %s has no upstream and cannot become %s; configure an upstream first.", v.Name, stage)
	}
	return []proto.Message{v.stageChanged(stage)}, nil
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

func checkVersion(spec *catalogv1.APIVersionSpec, stage string) error {
	var fields problem.Fields
	checkStage("spec.stage", stage, &fields)
	checkRoute(spec.GetRoute(), &fields)
	checkUpstream(spec.GetUpstream(), needsUpstream(stage), &fields)
	checkEach("spec.authenticate", spec.GetAuthenticate(), &fields, oneOf("apiKey"))
	checkMeters(spec.GetMeters(), &fields)
	checkPolicies(spec.GetPolicies(), &fields)
	return fields.Err("api-version-invalid", "The API version is not valid.")
}
