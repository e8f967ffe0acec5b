"""Errors made for people end a step as their sentence, without two stack traces in front of it."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import dagster as dg

from kapman_resources.errors import KapmanError

Step = TypeVar("Step", bound=Callable[..., Any])


def fails_in_a_sentence(step: Step) -> Step:
    """Decorate an asset's function: a KapmanError becomes a Dagster failure of that text, never retried.

    What is retried belongs to the resources, which know what may pass; an error that reaches a step is final.
    """

    @functools.wraps(step)
    def run(context: dg.AssetExecutionContext, *arguments: Any, **keywords: Any) -> Any:
        try:
            return step(context, *arguments, **keywords)
        except KapmanError as error:
            context.log.error(str(error))  # noqa: TRY400  (the sentence, without the trace)
            raise dg.Failure(
                description=str(error),
                metadata={"kind": type(error).__name__, "what": error.what, "fix": error.fix},
                allow_retries=False,
            ) from None

    return run  # type: ignore[return-value]
