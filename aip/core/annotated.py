"""Names for rows with what a query annotates, for the type checker alone: at run time they are the model."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django_stubs_ext import WithAnnotations as WithAnnotations
else:

    class WithAnnotations:
        """`WithAnnotations[Model, Annotations]`. The library that has it is a development dependency."""

        def __class_getitem__(cls, parameters: Any) -> Any:
            return parameters[0]
