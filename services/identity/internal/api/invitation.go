package api

import (
	"context"
	"net/http"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/services/identity/internal/app"
	"github.com/tollgate/tollgate/services/identity/internal/store"
)

type invite struct {
	Email string   `json:"email" required:"true" format:"email"`
	Roles []string `json:"roles" required:"true"`
}

type inviteToAccount struct {
	Account string   `path:"account" description:"Name or id."`
	Email   string   `json:"email" required:"true" format:"email"`
	Roles   []string `json:"roles" required:"true" description:"admin or developer."`
}

type invitationPath struct {
	Invitation string `path:"invitation"`
}

type acceptInvitation struct {
	Token       string `json:"token" required:"true" description:"From the mail."`
	DisplayName string `json:"displayName" required:"true"`
	Password    string `json:"password" required:"true" format:"password" description:"15 to 256 characters."`
}

func registerInvitations(a *operation.API, i *app.Identity) {
	operation.Register(a, operation.Op[inviteToAccount, store.Invitation]{
		Name: "InviteAccountMember", Method: http.MethodPost, Path: "/accounts/{account}/invitations", Scope: admin, Status: http.StatusCreated,
		Summary: "Invite a person by mail to become a member of an account.",
		Handle: func(ctx context.Context, r *inviteToAccount) (store.Invitation, error) {
			return i.Invite(ctx, r.Account, r.Email, r.Roles)
		},
	})
	for _, f := range []face{{"", "", admin, admin, false}, {"Own", "/account", accountAdmin, accountAdmin, true}} {
		operation.Register(a, operation.Op[invite, store.Invitation]{
			Name: "Invite" + f.noun + "Member", Method: http.MethodPost, Path: f.prefix + "/invitations", Scope: f.write, Account: f.account, Status: http.StatusCreated,
			Summary: "Invite a person by mail to become a member.",
			Handle: func(ctx context.Context, r *invite) (store.Invitation, error) {
				return i.Invite(ctx, "", r.Email, r.Roles)
			},
		})
		operation.Register(a, operation.Op[page, operation.List[store.Invitation]]{
			Name: "List" + f.noun + "Invitations", Method: http.MethodGet, Path: f.prefix + "/invitations", Scope: f.read, Account: f.account,
			Summary: "Invitations that were neither accepted nor revoked.",
			Handle: func(ctx context.Context, r *page) (operation.List[store.Invitation], error) {
				rows, err := i.Invitations(ctx, "", r.Cursor, r.Size()+1)
				return operation.PageOf(rows, r.Page, func(v store.Invitation) string { return v.ID }), err
			},
		})
		operation.Register(a, operation.Op[invitationPath, operation.Empty]{
			Name: "Revoke" + f.noun + "Invitation", Method: http.MethodDelete, Path: f.prefix + "/invitations/{invitation}", Scope: f.write, Account: f.account,
			Summary: "Make an invitation void.",
			Handle: func(ctx context.Context, r *invitationPath) (operation.Empty, error) {
				return operation.Empty{}, i.RevokeInvitation(ctx, r.Invitation)
			},
		})
	}
	operation.Register(a, operation.Op[acceptInvitation, store.Member]{
		Name: "AcceptInvitation", Method: http.MethodPost, Path: "/invitations/accept", Public: true, Status: http.StatusCreated,
		Summary: "Become a member, with the token of an invitation.",
		Handle: func(ctx context.Context, r *acceptInvitation) (store.Member, error) {
			return i.AcceptInvitation(ctx, r.Token, r.DisplayName, r.Password)
		},
	})
}
