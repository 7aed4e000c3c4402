package chserver

import (
	"fmt"
	"runtime"
	"unsafe"

	"github.com/ebitengine/purego"
)

// Pointers of the library's own.
type (
	connection uintptr
	result     uintptr
	inserting  uintptr
)

// boundQuery is a function that takes a statement, a format and the values of the statement's parameters, all with their lengths.
type boundQuery[R any] func(c connection, statement *byte, statementLen uintptr, format *byte, formatLen uintptr,
	names **byte, nameLens *uintptr, values **byte, valueLens *uintptr, count uintptr) R

// library is the part of libchdb's C interface (chdb.h of 26.7) that the server uses. The library copies what it is given before a
// call returns. A connection runs one statement at a time; different connections run side by side.
type library struct {
	setSignalHandlersEnabled func(enabled int32)
	connect                  func(argc int32, argv **byte) *connection // nil when it fails
	closeConnection          func(c *connection)

	query         boundQuery[result]
	stream        boundQuery[result]
	fetch         func(c connection, stream result) result // an empty one at the end
	cancel        func(c connection, stream result)
	destroyResult func(r result)

	insert        boundQuery[inserting]
	appendData    func(i inserting, data *byte, length uintptr) (failed int32)
	finish        func(i inserting) result
	cancelInsert  func(i inserting)
	insertError   func(i inserting) *byte
	destroyInsert func(i inserting)

	buffer       func(r result) *byte
	length       func(r result) uintptr
	err          func(r result) *byte
	rows         func(r result) uint64
	bytes        func(r result) uint64
	readRows     func(r result) uint64
	readBytes    func(r result) uint64
	writtenRows  func(r result) uint64
	writtenBytes func(r result) uint64
}

// loadLibrary loads libchdb. It stays loaded until the process ends.
func loadLibrary(path string) (*library, error) {
	handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("load the ClickHouse engine: %w", err)
	}
	l := &library{}
	for name, function := range map[string]any{
		"chdb_set_signal_handlers_enabled": &l.setSignalHandlersEnabled,
		"chdb_connect":                     &l.connect,
		"chdb_close_conn":                  &l.closeConnection,
		"chdb_query_with_params_n":         &l.query,
		"chdb_stream_query_with_params_n":  &l.stream,
		"chdb_stream_fetch_result":         &l.fetch,
		"chdb_stream_cancel_query":         &l.cancel,
		"chdb_destroy_query_result":        &l.destroyResult,
		"chdb_stream_insert_with_params_n": &l.insert,
		"chdb_stream_append":               &l.appendData,
		"chdb_stream_done":                 &l.finish,
		"chdb_stream_cancel_insert":        &l.cancelInsert,
		"chdb_stream_insert_error":         &l.insertError,
		"chdb_destroy_insert_stream":       &l.destroyInsert,
		"chdb_result_buffer":               &l.buffer,
		"chdb_result_length":               &l.length,
		"chdb_result_error":                &l.err,
		"chdb_result_rows_read":            &l.rows,
		"chdb_result_bytes_read":           &l.bytes,
		"chdb_result_storage_rows_read":    &l.readRows,
		"chdb_result_storage_bytes_read":   &l.readBytes,
		"chdb_result_rows_written":         &l.writtenRows,
		"chdb_result_bytes_written":        &l.writtenBytes,
	} {
		symbol, err := purego.Dlsym(handle, name)
		if err != nil {
			return nil, fmt.Errorf("use %s as the ClickHouse engine: %w", path, err)
		}
		purego.RegisterFunc(function, symbol)
	}
	// Signals are the Go runtime's.
	l.setSignalHandlersEnabled(0)
	return l, nil
}

// open makes a connection, with arguments as on a command line.
func (l *library) open(arguments ...string) *connection {
	pointers := make([]*byte, len(arguments))
	for i, argument := range arguments {
		pointers[i] = unsafe.StringData(argument + "\x00")
	}
	opened := l.connect(int32(len(pointers)), unsafe.SliceData(pointers))
	runtime.KeepAlive(pointers)
	return opened
}

// call calls one of the functions that take a statement.
func call[R any](function boundQuery[R], c connection, statement, format string, parameters map[string]string) R {
	names, values := make([]*byte, 0, len(parameters)), make([]*byte, 0, len(parameters))
	nameLens, valueLens := make([]uintptr, 0, len(parameters)), make([]uintptr, 0, len(parameters))
	for name, value := range parameters {
		names, nameLens = append(names, unsafe.StringData(name)), append(nameLens, uintptr(len(name)))
		// An empty string has no address, and the library wants one.
		values, valueLens = append(values, unsafe.StringData(value+"\x00")), append(valueLens, uintptr(len(value)))
	}
	returned := function(c, unsafe.StringData(statement), uintptr(len(statement)), unsafe.StringData(format), uintptr(len(format)),
		unsafe.SliceData(names), unsafe.SliceData(nameLens), unsafe.SliceData(values), unsafe.SliceData(valueLens), uintptr(len(names)))
	runtime.KeepAlive(statement)
	runtime.KeepAlive(format)
	runtime.KeepAlive(parameters)
	runtime.KeepAlive(values)
	return returned
}

// content is the result's data, in the library's memory: it is gone when the result is destroyed.
func (l *library) content(r result) []byte {
	length := l.length(r)
	if length == 0 {
		return nil
	}
	return unsafe.Slice(l.buffer(r), length)
}

// text copies a C string; a null pointer is the empty one.
func text(pointer *byte) string {
	if pointer == nil {
		return ""
	}
	length := 0
	for *(*byte)(unsafe.Add(unsafe.Pointer(pointer), length)) != 0 {
		length++
	}
	return string(unsafe.Slice(pointer, length))
}
