"""The whole stack put together: every component on the one below it, over any backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from perfguard_suites.staged_throughput.backend import Backend
from perfguard_suites.staged_throughput.batch_processor import BatchProcessor
from perfguard_suites.staged_throughput.channel import Channel
from perfguard_suites.staged_throughput.generate_endpoint import GenerateEndpoint
from perfguard_suites.staged_throughput.inference_engine import InferenceEngine
from perfguard_suites.staged_throughput.model_executor import ModelExecutor
from perfguard_suites.staged_throughput.schedule import Replay
from perfguard_suites.staged_throughput.scheduler import Scheduler
from perfguard_suites.staged_throughput.scheduler_batch_processor import SchedulerBatchProcessor


@dataclass(frozen=True, slots=True)
class Stack:
    """Stages 0 to 4 over one backend; a scheduler is put on top for each channel that it serves."""

    backend: Backend
    engine: InferenceEngine
    executor: ModelExecutor
    processor: BatchProcessor

    def batches(self) -> SchedulerBatchProcessor:
        """Stage 4, with an empty batch."""
        return SchedulerBatchProcessor(self.processor, self.engine.tokenizer.end_token)

    def scheduler(self, channel: Channel, *, max_queue: int = 256, replay: Replay | None = None) -> Scheduler:
        """Stage 5, on a stage 4 of its own."""
        backend = self.backend
        return Scheduler(
            self.batches(), channel, slots=backend.slots, capacity=backend.capacity, max_queue=max_queue, replay=replay
        )

    def endpoint(self, model: str) -> GenerateEndpoint:
        """Stage 6, for the scheduler that it is given."""
        return GenerateEndpoint(self.engine.tokenizer, model, self.backend.capacity)

    def calls(self) -> Mapping[str, int]:
        """What stages 0 to 3 have counted."""
        return {
            "Backend": self.backend.calls,
            "InferenceEngine": self.engine.calls,
            "ModelExecutor": self.executor.calls,
            "BatchProcessor": self.processor.calls,
        }


def stack_on(backend: Backend) -> Stack:
    """The components on a backend."""
    engine = InferenceEngine(backend)
    executor = ModelExecutor(engine)
    return Stack(backend, engine, executor, BatchProcessor(executor))
