package app

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestATenantTakesAPartOfTheTails.
func TestATenantTakesAPartOfTheTails(t *testing.T) {
	t.Parallel()
	p := &tails{of: map[string]int{}}
	for range maxTenantTails {
		require.True(t, p.enter("acme"))
	}
	require.False(t, p.enter("acme"))
	require.True(t, p.enter("globex"), "another tenant has places")
	p.leave("acme")
	require.True(t, p.enter("acme"))
	for _, tenant := range []string{"b", "c", "d", "e"} {
		for range maxTenantTails {
			p.enter(tenant)
		}
	}
	require.False(t, p.enter("f"), "as many as a process has")
	require.Equal(t, maxTails, p.all)
}

// TestTailsShareALook: of many who ask at once one looks, and what is told never goes back.
func TestTailsShareALook(t *testing.T) {
	t.Parallel()
	looks := uint64(0)
	p := newPlaces(func(context.Context) (tailCursor, error) {
		looks++
		return tailCursor{upTo: []uint64{looks}}, nil
	})
	told := make(chan tailCursor)
	for range 50 {
		go func() {
			c, err := p.now(t.Context(), time.Hour)
			if err == nil {
				told <- c
			}
		}()
	}
	for range 50 {
		require.Equal(t, []uint64{1}, (<-told).upTo)
	}
	require.Equal(t, uint64(1), looks)
	anew, err := p.now(t.Context(), 0)
	require.NoError(t, err)
	require.Equal(t, []uint64{2}, anew.upTo)
	shared, err := p.now(t.Context(), time.Hour)
	require.NoError(t, err)
	require.Equal(t, anew, shared)
	p.look = func(context.Context) (tailCursor, error) { return tailCursor{}, errors.New("away") }
	_, err = p.now(t.Context(), 0)
	require.Error(t, err)
	shared, err = p.now(t.Context(), time.Hour)
	require.NoError(t, err)
	require.Equal(t, anew, shared)
}
