package deploy_test

import (
	"testing"

	"github.com/tollgate/tollgate/libs/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }
