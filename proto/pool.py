"""The descriptor pool of the wire contracts, apart from protobuf's default one.

A pool refuses a second file of one name that differs from the first, and nearly every release of `tritonclient` has
another `model_config.proto` for the default pool.
"""

import copyreg
from collections.abc import Callable, Iterable

from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

POOL = DescriptorPool()


def pickle_by_class(messages: Iterable[Descriptor]) -> None:
    """Has messages of these types, and of those nested in them, pickled and copied by their class.

    protobuf looks the name of a nested type up in the default pool, where another package's may have it.
    """
    # pickle and copy ask copyreg before they ask the class, which is protobuf's own.
    for message in messages:
        copyreg.pickle(GetMessageClass(message), _reduce)
        pickle_by_class(message.nested_types)


def _reduce(message: Message) -> tuple[Callable[[bytes], Message], tuple[bytes]]:
    return type(message).FromString, (message.SerializePartialToString(),)
