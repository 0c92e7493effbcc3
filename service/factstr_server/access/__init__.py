"""Who may call what: roles, callers, and the file that names them.

    roles               what each role allows, and the role that each RPC takes
    tokens              what a token is, and what is kept of it
    callers             who is known, from the tokens file
    awaited_requests    what a caller has begun and not sent

No gRPC: what a call carries comes here as text.
"""
