"""Works with tools: Pydantic AI's agent loop over the workbench, every call through the gateway.

Importing this module takes about 1.3 s of CPU: import it off the event loop, when it is needed.
"""

from __future__ import annotations

from typing import Any

from pydantic_ai import Agent, Tool, ToolOutput, UsageLimits, exceptions
from pydantic_ai.settings import ModelSettings

from quarterdeck.core.errors import StepFailed
from quarterdeck.features.coding.implementers.agent.options import AgentOptions
from quarterdeck.features.coding.implementers.agent.workbench import Stopped, Workbench
from quarterdeck.features.coding.implementers.brief import RULES, brief_of
from quarterdeck.features.coding.implementers.port import Task
from quarterdeck.llm.agent_model import agent_model
from quarterdeck.llm.gateway import Gateway
from quarterdeck.llm.port import ModelRef

PURPOSE = "implement"
RETRIES = 3

INSTRUCTIONS = """\
Work with the tools. Look before you change anything, change little, run the tests after a change,
and call finish when the brief is met or when you are sure that you cannot meet it."""


async def work_with_tools(
    task: Task,
    gateway: Gateway,
    model: ModelRef,
    options: AgentOptions,
    workbench: Workbench,
    *,
    allow_cloud: bool,
) -> str:
    """Let the model use the workbench until it finishes; what it says about its work.

    Raises:
        Stopped: the steps or tokens are used up, or it goes round in circles.
        StepFailed: the model cannot work with tools, or gave no answer.
    """
    settings = ModelSettings(max_tokens=options.answer_tokens_max)
    if options.temperature is not None:
        settings["temperature"] = options.temperature
    agent: Agent[object, Any] = Agent(
        await agent_model(gateway, model, purpose=PURPOSE, allow_cloud=allow_cloud),
        name="quarterdeck-agent",
        instructions=f"{RULES}\n{INSTRUCTIONS}",
        # Tools change files one after the other, never at once.
        tools=[Tool(tool, sequential=True) for tool in workbench.tools()],
        output_type=[ToolOutput(finish, name="finish"), str],
        model_settings=settings,
        retries=RETRIES,
    )
    limits = UsageLimits(request_limit=options.steps_max, total_tokens_limit=options.tokens_max)
    try:
        result = await agent.run(brief_of(task), usage_limits=limits)
    except exceptions.UsageLimitExceeded as error:
        raise Stopped(f"The agent's budget is used up: {error}") from None
    except exceptions.AgentRunError as error:
        raise StepFailed(
            f"The model could not work with the tools: {error}",
            where=f"model {model}",
            hint="Try the mode whole_file.",
        ) from None
    return str(result.output)


def finish(summary: str) -> str:
    """End the work; say in one or two sentences what was changed and why, or why it cannot be."""
    return summary
