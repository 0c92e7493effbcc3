"""Owns the commands about streams and their flags: `tail`, `consume`, and the group `durable`."""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import Final

from factstr.cli import administering, consuming, tailing, values
from factstr.cli.declaring import Commands, add_context, declare
from factstr.cli.settings import add_settings

_EXAMPLE_OF_GROUP: Final = "factstr durable list"


def add_tail(commands: Commands) -> None:
    parser = declare(
        commands,
        "tail",
        tailing.run,
        "show facts as they are committed, from now on or from a position; goes on by itself after interruptions",
        "factstr tail",
        "factstr tail --from 0 --type tool-returned",
        """factstr tail --payload '{"tool":{"id":"drill-1"}}' | jq .payload""",
    )
    add_context(parser, "--type", "--payload")
    parser.add_argument(
        "--from",
        dest="start",
        type=values.position,
        metavar="POSITION|head",
        help="begin strictly after this sequence number; 0 is the beginning (default head: from now on)",
    )
    parser.add_argument(
        "--limit", type=values.positive, metavar="N", help="end after so many facts (default: never)"
    )


def add_consume(commands: Commands) -> None:
    parser = declare(
        commands,
        "consume",
        consuming.run,
        "run a command on each batch of a durable stream, and acknowledge the batch when the command exits with 0",
        """factstr consume inventory --exec 'cat >> inventory.ndjson'""",
        """factstr consume returns --type tool-returned --until-caught-up --exec 'jq -r .payload.tool.id'""",
    )
    parser.epilog = f"{_EXEC}\n\n{parser.epilog}"
    parser.add_argument("name", metavar="NAME", help="of the durable stream; it is made when it is new")
    parser.add_argument(
        "--exec",
        dest="command",
        required=True,
        type=values.shell_command,
        metavar="CMD",
        help="run by the shell for each batch, with its facts as NDJSON on stdin",
    )
    add_context(parser, "--type", "--payload")
    parser.add_argument(
        "--from",
        dest="start",
        type=values.position,
        metavar="POSITION|head",
        help="where a new name begins: strictly after this sequence number (default 0, the beginning)",
    )
    parser.add_argument(
        "--wait", action="store_true", help="while another consumer holds the lease, wait for it"
    )
    parser.add_argument(
        "--max-unacknowledged",
        type=values.window,
        default=0,
        metavar="N",
        help="let the server send so many batches ahead (default: as it finds right)",
    )
    parser.add_argument(
        "--until-caught-up",
        action="store_true",
        help="end when everything up to the head is acknowledged",
    )


_EXEC: Final = """\
CMD finds in its environment FACTSTR_DURABLE_STREAM, FACTSTR_FIRST_SEQUENCE_NUMBER and
FACTSTR_LAST_SEQUENCE_NUMBER of the batch, and FACTSTR_LEASE_EPOCH, a fencing number that only ever rises.
When it exits with another code than 0, this ends with 1; the batch is not acknowledged and is delivered
again, as it is after any crash: at least once. Ctrl-C and SIGTERM let a running CMD finish its batch and
acknowledge it (the exit code is then 130, or 0 after SIGTERM); a second one ends CMD and this at once."""


def add_durable(commands: Commands) -> None:
    what = "list, show, reset, delete and await durable streams"
    group: ArgumentParser = commands.add_parser(
        "durable",
        help=what,
        description=f"{what.capitalize()}.",
        epilog=f"example: {_EXAMPLE_OF_GROUP}",
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_settings(group)
    actions = group.add_subparsers(metavar="ACTION", required=True)
    _add_list(actions)
    _add_show(actions)
    _add_reset(actions)
    _add_delete(actions)
    _add_await(actions)


def _add_list(actions: Commands) -> None:
    parser = declare(
        actions,
        "list",
        administering.run_list,
        "say how the durable streams stand: cursor, head, lag, and who consumes them",
        _EXAMPLE_OF_GROUP,
        "factstr durable list --prefix billing-",
    )
    parser.add_argument("--prefix", default="", metavar="PREFIX", help="only those whose names begin with it")


def _add_show(actions: Commands) -> None:
    parser = declare(
        actions,
        "show",
        administering.run_show,
        "say all about one durable stream, its query included",
        "factstr durable show inventory",
    )
    _add_name(parser)


def _add_reset(actions: Commands) -> None:
    parser = declare(
        actions,
        "reset",
        administering.run_reset,
        "move the cursor of a durable stream, back or forth",
        "factstr durable reset inventory --to 0",
        "factstr durable reset inventory --to head --force",
    )
    _add_name(parser)
    parser.add_argument(
        "--to",
        required=True,
        type=values.position,
        metavar="POSITION|head",
        help="deliver what is strictly after this sequence number; 0 is the beginning",
    )
    _add_force(parser)


def _add_delete(actions: Commands) -> None:
    parser = declare(
        actions,
        "delete",
        administering.run_delete,
        "forget a durable stream's name, query and cursor; no fact is touched",
        "factstr durable delete inventory",
    )
    _add_name(parser)
    _add_force(parser)


def _add_await(actions: Commands) -> None:
    parser = declare(
        actions,
        "await",
        administering.run_await,
        "wait until a durable stream's cursor has reached a sequence number, at most --timeout seconds; "
        "exits with 0 when it has, with 1 when not",
        "factstr durable await inventory 9 --timeout 5",
    )
    _add_name(parser)
    parser.add_argument("sequence_number", type=values.number, metavar="SEQUENCE_NUMBER")


def _add_name(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="of the durable stream")


def _add_force(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--force", action="store_true", help="also while it is consumed; ends that consumer's lease"
    )
