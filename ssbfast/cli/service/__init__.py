"""`ssbfast service`: have `ssbfast share` run by the manager of the user's services, systemd or launchd."""
