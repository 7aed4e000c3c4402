package chserver

import "strings"

// streamedFormats are the output formats in which the parts of a result, written one after the other, are the result: those without
// beginning and end. The engine writes each part of a stream as a document of its own.
var streamedFormats = map[string]bool{
	"native": true, "null": true, "rowbinary": true, "msgpack": true, "lineasstring": true, "rawblob": true, "tskv": true,
	"tabseparated": true, "tsv": true, "tabseparatedraw": true, "tsvraw": true, "csv": true,
	"jsoneachrow": true, "jsonlines": true, "ndjson": true, "jsonstringseachrow": true,
	"jsoncompacteachrow": true, "jsoncompactstringseachrow": true,
}

func streamed(format string) bool { return streamedFormats[strings.ToLower(format)] }

// contentType is the media type ClickHouse gives a result in a format.
func contentType(format string) string {
	lower := strings.ToLower(format)
	switch {
	case strings.HasSuffix(lower, "eachrow"), lower == "jsonlines", lower == "ndjson":
		return "application/x-ndjson; charset=UTF-8"
	case strings.HasPrefix(lower, "json"):
		return "application/json; charset=UTF-8"
	case strings.HasPrefix(lower, "csv"):
		return "text/csv; charset=UTF-8"
	case strings.HasPrefix(lower, "tabseparated"), strings.HasPrefix(lower, "tsv"):
		return "text/tab-separated-values; charset=UTF-8"
	case lower == "xml":
		return "application/xml; charset=UTF-8"
	case lower == "native", lower == "msgpack", lower == "parquet", strings.HasPrefix(lower, "rowbinary"), strings.HasPrefix(lower, "arrow"):
		return "application/octet-stream"
	default:
		return "text/plain; charset=UTF-8"
	}
}
