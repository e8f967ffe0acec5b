"""Errors made for people end a step as their sentence; which of them a retry can help, and which it can't."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import dagster as dg

from kapman_resources.errors import KapmanError
from kapman_resources.settings import settings

Step = TypeVar("Step", bound=Callable[..., Any])


def fails_in_a_sentence(step: Step) -> Step:
    """Decorate an asset's function: a KapmanError becomes a Dagster failure of that text.

    A retry policy would repeat whatever is raised: only an error that may pass by itself lets it. A bug fails
    at once, with its trace.
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
                allow_retries=error.may_pass,
            ) from None
        except dg.Failure:
            raise
        except Exception as error:
            raise dg.Failure(f"{type(error).__name__}: {error}", allow_retries=False) from error

    return run  # type: ignore[return-value]


def vendor_retries() -> dg.RetryPolicy | None:
    """For steps that ask the vendor, whose trouble may pass: 20 s, then 40 s, each up to as long again.

    The clients have tried several times within seconds by then. Steps that only use the database have none: a
    lock that went with its connection isn't taken again within a run, and what else fails there stays.
    """
    times = settings().vendor_retries
    if not times:
        return None
    return dg.RetryPolicy(
        max_retries=times, delay=20, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
    )


def failure_sentence(event: dg.DagsterEvent) -> str:
    """Why a step failed: the sentence made for people, else the innermost error."""
    failure = event.step_failure_data
    if failure.user_failure_data and failure.user_failure_data.description:
        return failure.user_failure_data.description
    error = failure.error
    while error and error.cause:
        error = error.cause
    return error.message.strip() if error else "see the run's log"
