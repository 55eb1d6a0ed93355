"""Registries as settings describe them: one that serves every model, and one for a single answer of one model."""

from __future__ import annotations

from functools import partial

from service.backend.deferred import load
from service.batching.queue import Limits
from service.contract.model_signatures import TrustedKeys
from service.metrics.page import Metrics
from service.registry.registry import Registry
from service.runtime.watched_file import UnusableFile
from service.runtime.worker_group import WorkerGroup
from service.settings import Settings


def make_registry(settings: Settings, metrics: Metrics | None = None, group: WorkerGroup | None = None) -> Registry:
    """The registry of a service with `settings`, or of one process of its `group`."""
    return Registry(
        settings.models,
        device=settings.device,
        threads=settings.threads,
        processes=settings.workers,
        limits=_limits(settings),
        metrics=metrics,
        digests=group.digests if group else None,
        plan=group.plan if group else None,
        plan_number=group.shared.plan_number if group else None,
        keep=settings.model_versions,
        pins=settings.pins,
        default_names=settings.default_names,
        load_seconds=settings.model_load_seconds,
        fault_limit=settings.model_fault_limit,
        trusted=_trusted_keys(settings),
    )


def one_shot_registry(settings: Settings, model: str) -> Registry:
    """A registry for one answer of one model: it loads no other, and answers before every shape is warm."""
    return Registry(
        settings.models,
        device=settings.device,
        threads=settings.threads,
        limits=_limits(settings),
        only=model,
        default_names=settings.default_names,
        load=partial(load, warm=False, trusted=_trusted_keys(settings)),
    )


def _trusted_keys(settings: Settings) -> TrustedKeys | None:
    """The keys of those whose models are loaded; raises `UnusableFile` where they cannot be read."""
    if settings.trusted_keys is None:
        return None
    try:
        return TrustedKeys.read(settings.trusted_keys)
    except ValueError as error:
        raise UnusableFile(str(error)) from error


def _limits(settings: Settings) -> Limits:
    return Limits(
        queue_seconds=settings.max_queue_seconds,
        queue_items=settings.max_queue_items,
        queue_observations=settings.max_queue_observations,
    )
