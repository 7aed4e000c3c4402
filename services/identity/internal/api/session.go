package api

import (
	"context"
	"net/http"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/services/identity/internal/app"
	"github.com/tollgate/tollgate/services/identity/internal/store"
)

type signIn struct {
	Tenant   string `json:"tenant" required:"true" description:"The tenant's name."`
	Email    string `json:"email" required:"true"`
	Password string `json:"password" required:"true" format:"password"`
	Code     string `json:"code" description:"One-time password or recovery code, for members with a second factor."`
}

type listSessions struct {
	Member string `query:"member" description:"Id of a member; yourself when empty."`
}

type sessionPath struct {
	Session string `path:"session"`
}

func registerSessions(a *operation.API, i *app.Identity) {
	operation.Register(a, operation.Op[signIn, app.StartedSession]{
		Name: "SignIn", Method: http.MethodPost, Path: "/sessions", Public: true, Direct: true, Status: http.StatusCreated,
		Summary: "Start a session, whose token is shown once and is sent like a personal access token.",
		Handle: func(ctx context.Context, r *signIn) (app.StartedSession, error) {
			return i.SignIn(ctx, r.Tenant, r.Email, r.Password, r.Code)
		},
	})
	operation.Register(a, operation.Op[listSessions, operation.List[store.Session]]{
		Name: "ListSessions", Method: http.MethodGet, Path: "/sessions", Account: true,
		Summary: "Your sessions that go on; with the scope identity.admin anybody's.",
		Handle: func(ctx context.Context, r *listSessions) (operation.List[store.Session], error) {
			rows, err := i.Sessions(ctx, r.Member)
			if rows == nil {
				rows = []store.Session{}
			}
			return operation.List[store.Session]{Items: rows}, err
		},
	})
	operation.Register(a, operation.Op[sessionPath, operation.Empty]{
		Name: "EndSession", Method: http.MethodDelete, Path: "/sessions/{session}", Account: true,
		Summary: "Sign out: end a session of yours; with the scope identity.admin anybody's.",
		Handle: func(ctx context.Context, r *sessionPath) (operation.Empty, error) {
			return operation.Empty{}, i.EndSession(ctx, r.Session)
		},
	})
	operation.Register(a, operation.Op[struct{}, app.Self]{
		Name: "GetSelf", Method: http.MethodGet, Path: "/me", Account: true, Summary: "The member that your token stands for.",
		Handle: func(ctx context.Context, _ *struct{}) (app.Self, error) { return i.Self(ctx) },
	})
}

type changePassword struct {
	Current  string `json:"current" format:"password" description:"The current password, if there is one."`
	Password string `json:"password" required:"true" format:"password" description:"15 to 256 characters."`
}

type requestReset struct {
	Tenant string `json:"tenant" required:"true" description:"The tenant's name."`
	Email  string `json:"email" required:"true"`
}

type confirmReset struct {
	Token    string `json:"token" required:"true" description:"From the mail."`
	Password string `json:"password" required:"true" format:"password" description:"15 to 256 characters."`
}

type startTOTP struct {
	Password string `json:"password" format:"password" description:"The current password, if there is one."`
}

type totpCode struct {
	Code string `json:"code" required:"true"`
}

type codes struct {
	RecoveryCodes []string `json:"recoveryCodes" description:"Each signs in once in place of a one-time password. They are shown once."`
}

func registerPasswords(a *operation.API, i *app.Identity) {
	operation.Register(a, operation.Op[changePassword, operation.Empty]{
		Name: "ChangePassword", Method: http.MethodPut, Path: "/me/password", Account: true,
		Summary: "Set another password; all of your sessions end.",
		Handle: func(ctx context.Context, r *changePassword) (operation.Empty, error) {
			return operation.Empty{}, i.ChangePassword(ctx, r.Current, r.Password)
		},
	})
	operation.Register(a, operation.Op[requestReset, operation.Empty]{
		Name: "RequestPasswordReset", Method: http.MethodPost, Path: "/password-resets", Public: true, Direct: true,
		Summary: "Ask for a mail to set another password with. The answer does not tell whether there is such a member.",
		Handle: func(ctx context.Context, r *requestReset) (operation.Empty, error) {
			return operation.Empty{}, i.RequestPasswordReset(ctx, r.Tenant, r.Email)
		},
	})
	operation.Register(a, operation.Op[confirmReset, operation.Empty]{
		Name: "ResetPassword", Method: http.MethodPost, Path: "/password-resets/confirm", Public: true,
		Summary: "Set another password with the token of a mail; all of the member's sessions end.",
		Handle: func(ctx context.Context, r *confirmReset) (operation.Empty, error) {
			return operation.Empty{}, i.ResetPassword(ctx, r.Token, r.Password)
		},
	})
	operation.Register(a, operation.Op[startTOTP, app.SecondFactor]{
		Name: "StartSecondFactor", Method: http.MethodPost, Path: "/me/totp", Account: true, Status: http.StatusCreated,
		Summary: "Make a secret for one-time passwords (RFC 6238); it counts once it is confirmed.",
		Handle: func(ctx context.Context, r *startTOTP) (app.SecondFactor, error) {
			return i.StartSecondFactor(ctx, r.Password)
		},
	})
	operation.Register(a, operation.Op[totpCode, codes]{
		Name: "ConfirmSecondFactor", Method: http.MethodPost, Path: "/me/totp/confirm", Account: true,
		Summary: "Confirm the second factor with a one-time password of it.",
		Handle: func(ctx context.Context, r *totpCode) (codes, error) {
			all, err := i.ConfirmSecondFactor(ctx, r.Code)
			return codes{all}, err
		},
	})
	operation.Register(a, operation.Op[totpCode, operation.Empty]{
		Name: "DisableSecondFactor", Method: http.MethodPost, Path: "/me/totp/disable", Account: true,
		Summary: "Take away your second factor, with a one-time password or a recovery code of it.",
		Handle: func(ctx context.Context, r *totpCode) (operation.Empty, error) {
			return operation.Empty{}, i.DisableSecondFactor(ctx, r.Code)
		},
	})
}
