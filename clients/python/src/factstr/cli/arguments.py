"""Owns the commands and their flags; those about streams are `stream_arguments`'."""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence

from factstr.cli import appending, exporting, importing, info, querying, values
from factstr.cli.declaring import Commands, add_context, declare
from factstr.cli.settings import add_settings, fill_in
from factstr.cli.stream_arguments import add_consume, add_durable, add_tail


def parse(arguments: Sequence[str] | None) -> Namespace:
    """Return the options, with `run` to call with them and `wrong_usage` to end with a message and 2.

    Raises SystemExit(2) for wrong usage.
    """
    parser = ArgumentParser(
        prog="factstr",
        description="Append, query, follow, import and export facts of a FACTSTR server.",
        epilog="example: factstr --target localhost:50051 info",
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_settings(parser)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_append(commands)
    _add_append_if(commands)
    _add_query(commands)
    add_tail(commands)
    add_consume(commands)
    add_durable(commands)
    _add_import(commands)
    _add_export(commands)
    declare(
        commands,
        "info",
        info.run,
        "say what the server is, where its log ends, and its limits",
        "factstr info",
    )
    options = parser.parse_args(arguments)
    fill_in(options)
    return options


def _add_events(parser: ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", metavar="FILE", help="events as NDJSON, one a line; - for stdin")
    parser.add_argument("--type", metavar="TYPE", help="the event's type")
    parser.add_argument("--payload", metavar="JSON", help="the event's payload, stored byte for byte")
    parser.add_argument(
        "--metadata",
        action="append",
        type=values.pair,
        metavar="KEY=VALUE",
        help="of the event; may be repeated",
    )
    parser.add_argument("--idempotency-key", metavar="KEY", help="makes a repetition of this append harmless")


def _add_append(commands: Commands) -> None:
    parser = declare(
        commands,
        "append",
        appending.run_append,
        "append one event, or a file of events as one atomic batch",
        """factstr append --type tool-registered --payload '{"tool":{"id":"drill-1"}}'""",
        "factstr append --idempotency-key order-7 events.ndjson",
    )
    _add_events(parser)


def _add_append_if(commands: Commands) -> None:
    parser = declare(
        commands,
        "append-if",
        appending.run_append_if,
        "append only if the context has the expected version; exits with 3 on a conflict",
        """factstr append-if --type tool-checked-out --payload '{"tool":{"id":"drill-1"}}' \\""",
        """    --where-payload '{"tool":{"id":"drill-1"}}' --expected-version 15""",
    )
    _add_events(parser)
    add_context(parser, "--where-type", "--where-payload")
    parser.add_argument(
        "--expected-version",
        required=True,
        type=values.version,
        metavar="N|none",
        help="the context's version, as `factstr query --version-only` prints it",
    )


def _add_query(commands: Commands) -> None:
    parser = declare(
        commands,
        "query",
        querying.run,
        "show the facts that match",
        """factstr query --type tool-registered --payload '{"tool":{"id":"drill-1"}}'""",
        "factstr query --descending --limit 10",
        """factstr query --version-only --payload '{"tool":{"id":"drill-1"}}'""",
    )
    _add_selection(parser)
    parser.add_argument("--descending", action="store_true", help="newest first")
    parser.add_argument(
        "--version-only", action="store_true", help="print the context's version alone, or none"
    )


def _add_import(commands: Commands) -> None:
    parser = declare(
        commands,
        "import",
        importing.run,
        "append the events of an NDJSON file, gzip or not, in batches and in order",
        "factstr import --idempotency-prefix incidents incidents.ndjson.gz",
        "zcat incidents.ndjson.gz | factstr import",
    )
    parser.add_argument("file", nargs="?", default="-", metavar="FILE", help="- for stdin (default)")
    parser.add_argument(
        "--batch", type=values.positive, default=500, metavar="N", help="events an append (default 500)"
    )
    parser.add_argument(
        "--idempotency-prefix",
        type=values.prefix,
        metavar="PREFIX",
        help="names this import: repeated with the same file and --batch it adds only what is missing",
    )


def _add_export(commands: Commands) -> None:
    parser = declare(
        commands,
        "export",
        exporting.run,
        "write the facts that match as NDJSON that import takes; gzip if the name ends in .gz",
        "factstr export facts.ndjson.gz",
        "factstr export --type tool-registered - | wc -l",
    )
    parser.add_argument("file", nargs="?", default="-", metavar="FILE", help="- for stdout (default)")
    _add_selection(parser)


def _add_selection(parser: ArgumentParser) -> None:
    add_context(parser, "--type", "--payload")
    parser.add_argument(
        "--after", type=values.number, metavar="N", help="only facts after this sequence number"
    )
    parser.add_argument(
        "--before", type=values.number, metavar="N", help="only facts before this sequence number"
    )
    parser.add_argument("--limit", type=values.number, metavar="N", help="at most so many facts")
