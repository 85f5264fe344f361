"""A room's web site: invites, aliases, sign-in and the pages of its members. Needs the extra `web`."""
