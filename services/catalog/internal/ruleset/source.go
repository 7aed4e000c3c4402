package ruleset

import "github.com/pb33f/go-yaml"

// source is a ruleset as it is written.
type source struct {
	Extends yaml.Node            `yaml:"extends"`
	Rules   map[string]yaml.Node `yaml:"rules"`
	Aliases map[string]yaml.Node `yaml:"aliases"`
	// What there is no support for; known, so that it is not taken for a slip.
	Functions        yaml.Node `yaml:"functions"`
	FunctionsDir     yaml.Node `yaml:"functionsDir"`
	Overrides        yaml.Node `yaml:"overrides"`
	Except           yaml.Node `yaml:"except"`
	ParserOptions    yaml.Node `yaml:"parserOptions"`
	Formats          []string  `yaml:"formats"`
	DocumentationURL string    `yaml:"documentationUrl"`
}

type ruleSource struct {
	Description      string    `yaml:"description"`
	Message          string    `yaml:"message"`
	Severity         yaml.Node `yaml:"severity"`
	Given            yaml.Node `yaml:"given"`
	Then             yaml.Node `yaml:"then"`
	Recommended      *bool     `yaml:"recommended"`
	Resolved         *bool     `yaml:"resolved"`
	Formats          []string  `yaml:"formats"`
	DocumentationURL string    `yaml:"documentationUrl"`
	Tags             []string  `yaml:"tags"`
	Type             string    `yaml:"type"`
	Enabled          *bool     `yaml:"enabled"`
}

type thenSource struct {
	Field           string    `yaml:"field"`
	Function        string    `yaml:"function"`
	FunctionOptions yaml.Node `yaml:"functionOptions"`
}
