"""`factstr-server token`: makes tokens, and says what each role may."""

import sys
from collections.abc import Mapping, Sequence
from typing import Final

from factstr_server.access.callers import checked_name, line_of, read_roles
from factstr_server.access.roles import ALLOWS, role_matrix
from factstr_server.access.tokens import new_token
from factstr_server.cli.flags import Failure, Flags

_ROLES: Final = "\n".join(f"  {role:<9} {allows}" for role, allows in ALLOWS.items())

_EXAMPLES: Final = f"""\
examples:
  factstr-server token new --name billing --role writer
      prints a token, once, and the line that the tokens file takes
  factstr-server token new --name projector --role writer,consumer --tokens-file /etc/factstr/tokens
      adds the line to the file, and prints the token alone
  factstr-server token roles
      prints which role may call what

Roles:
{_ROLES}

The tokens file (factstr-server --tokens-file) holds a line for each token, with a salted hash of it, or for each
certificate that is taken for one where clients bear certificates (--tls-client-ca):
  token        ID        NAME  ROLES  HASH
  certificate  IDENTITY  NAME  ROLES
Running servers read it again when it changes. A token whose line is gone is not taken any more.
"""


def token(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Raises Failure."""
    flags = Flags(
        "factstr-server token",
        environment,
        usage="factstr-server token new --name NAME --role ROLE[,ROLE] [--tokens-file FILE]\n"
        "       factstr-server token roles",
        description="Makes a token, of which servers keep nothing but a hash.",
        examples=_EXAMPLES,
    )
    flags.text("--name", "NAME", "who will bear it, for logs and metrics; several may bear one name")
    flags.text("--role", "ROLE", "what it allows; several with commas between them")
    flags.path("--tokens-file", "add the line to this file")
    words = list(arguments)
    command = words.pop(0) if words and not words[0].startswith("-") else ""
    given = flags.parse(words)
    if command == "roles":
        print(role_matrix())
    elif command == "new":
        if not (given.name and given.role):
            flags.refuse("token new takes --name and --role; see factstr-server token --help")
        try:
            name, roles = checked_name(given.name), read_roles(given.role)
        except ValueError as error:
            flags.refuse(str(error))
        made = new_token()
        _keep(line_of(made, name, sorted(roles)), made.token, given.tokens_file)
    else:
        flags.refuse("say `token new` or `token roles`; see factstr-server token --help")


def _keep(line: str, made: str, tokens_file: str | None) -> None:
    """On stdout the token, and the line where nobody keeps it; what they are goes to stderr, for people."""
    if tokens_file:
        try:
            with open(tokens_file, "a+", encoding="utf-8") as file:  # noqa: PTH123  (made where there is none)
                file.seek(0)
                text = file.read()
                file.write(f"{'' if not text or text.endswith(chr(10)) else chr(10)}{line}\n")
        except OSError as error:
            raise Failure(f"cannot write {tokens_file}: {error.strerror}") from None
    _say("The token, which is shown this once:")
    print(made, flush=True)
    if tokens_file:
        _say(f"Its line was added to {tokens_file}.")
    else:
        _say("The line for the tokens file:")
        print(line, flush=True)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
