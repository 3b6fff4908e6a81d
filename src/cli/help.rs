//! What `--help` says beyond the flags: this is the program's manual page.

/// Of the program, after `-h`.
pub(super) const SHORT: &str = "\
Without a command: serve. `tidewire --help` tells of files, settings, signals and exit codes,
`tidewire COMMAND --help` of a command, with examples.";

/// Of the program, after `--help`.
pub(super) const LONG: &str = "\
Without a command: serve.

Examples:
  tidewire
      serve with the file found here or in /etc/tidewire, or else one random app
  tidewire --config invoices.toml --port 7000
      serve with another file on another port
  TIDEWIRE_APP_ID=1 TIDEWIRE_APP_KEY=web TIDEWIRE_APP_SECRET=... tidewire
      serve one app without any file
  tidewire trigger invoice.7 payment.received '{\"status\":\"paid\"}'
      publish an event to the server that runs here

Settings: default < file < environment < flag. Every key of a section of the file is an
environment variable too: port in [server] is TIDEWIRE_SERVER__PORT (two underscores), commas
separate a list. Flags before a command that asks a server say where that one is:
tidewire --port 7000 channels. Beside the keys there are
  TIDEWIRE_CONFIG          the file
  TIDEWIRE_APP_ID, TIDEWIRE_APP_KEY, TIDEWIRE_APP_SECRET
                           one app more, with defaults for everything else
  TIDEWIRE_LOG             the log's filter: error, warn, info, debug, trace, off, or such as
                           info,tidewire::ws=debug
  TIDEWIRE_LOG_FORMAT      human or json
  SOKETI_...               Soketi's names, with a notice for each: see docs/migration.md
What cannot be understood stops the start, with its place and the nearest valid name.
What Kubernetes and Docker inject for a service called tidewire is passed over.

Files:
  --config FILE, else the one of TIDEWIRE_CONFIG, else apps.toml in the current directory,
  else /etc/tidewire/apps.toml. None of them need be there. Paths in a file begin at its folder.
  While serving, changed [[apps]] take effect by themselves within about a second; other
  sections wait for a restart.

Ports:
  6001  clients (/app/KEY, WebSocket) and backends (/apps/ID/..., HTTP): port in [server]
  9601  operators (/live, /ready, /health, /metrics), on loopback only: host and port in [admin]

Signals:
  SIGTERM, SIGINT  drain: no new connections, those that are there are closed over
                   drain_seconds so that clients come back elsewhere, requests in flight and
                   queued webhooks are finished; then exit with 0
  a second one     exit at once
  SIGHUP           read the configuration again

The log goes to stderr, answers go to stdout; serve prints one line there when it listens.

Exit codes: 0 done, 1 it went wrong, 2 wrong usage, 78 wrong configuration.";

/// Of `serve`.
pub(super) const SERVE: &str = "\
Examples:
  tidewire serve
      with the file found here or in /etc/tidewire
  TIDEWIRE_LOG_FORMAT=json tidewire serve --config /srv/apps.toml
      with a named file, and a log for machines

With no file, no database and no app in the environment, an app with a random id, key and secret is served;
they are printed once on stderr, ready to be set as TIDEWIRE_APP_ID, TIDEWIRE_APP_KEY and
TIDEWIRE_APP_SECRET, and are gone with the process.

Exit codes: 0 stopped by a signal, 1 it could not listen or go on, 2 wrong usage, 78 wrong
configuration, or a limit of open files that is too low for it.

See also: tidewire --help for signals and files, tidewire check-config, tidewire health.";

/// Of `check-config`.
pub(super) const CHECK_CONFIG: &str = "\
Examples:
  tidewire check-config
      the file that serve would find here, the environment and the flags
  tidewire check-config --config new.toml && mv new.toml apps.toml
      put a file in place only if it is good
  tidewire check-config 2>/dev/null
      the effective settings as TOML, and nothing else
  tidewire check-config --channel invoice.7
      which rule holds for this channel in each app, and what follows for it

The settings go to stdout, with *** for every secret. Notices (how a name of Soketi's was
understood) and warnings go to stderr.

Exit codes: 0 serve would start with it, 2 wrong usage, 78 serve would not (the reasons are on
stderr, each with its place).

See also: tidewire serve.";

/// Of `completions`.
pub(super) const COMPLETIONS: &str = "\
Examples:
  tidewire completions bash > /etc/bash_completion.d/tidewire
  tidewire completions zsh > \"${fpath[1]}/_tidewire\"
  tidewire completions fish > ~/.config/fish/completions/tidewire.fish

Exit codes: 0 done, 1 stdout cannot be written, 2 wrong usage.

See also: tidewire --help.";
