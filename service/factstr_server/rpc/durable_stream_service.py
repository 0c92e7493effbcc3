"""DurableStreamService: nothing of it is offered yet."""

import grpc

from factstr.v1 import durable_stream_service_pb2 as pb
from factstr_server.rpc.edge import Edge


class DurableStreamServicer:
    """Every call answers NOT_IMPLEMENTED."""

    def handlers(self, edge: Edge) -> grpc.GenericRpcHandler:
        return edge.handlers(pb.DESCRIPTOR.services_by_name["DurableStreamService"], unary={}, streaming={})
