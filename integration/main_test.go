// Package integration_test proves the promises of the whole from outside: its own binaries, real engines, plain HTTP.
package integration_test

import (
	"testing"

	"github.com/tollgate/tollgate/libs/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }
