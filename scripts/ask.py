"""Put every sample of a split to an OpenAI-compatible chat endpoint.

Answers that are kept from earlier are not asked for again; what a killed run had received is kept. The endpoint's key
comes from the environment variable that the study names, and is written nowhere.
"""

from __future__ import annotations

import argparse

from slingshot.config.endpoints import Asking
from slingshot.config.specs import AskSpec, parse_spec
from slingshot.endpoints.ask import AskJob, ask
from slingshot.runtime import cli


def main() -> None:
    given = vars(parse_arguments())
    asking = Asking(**{name: given.pop(name) for name in Asking.model_fields})
    ask(AskJob(**given | {"spec": parse_spec(AskSpec, given["spec"]), "asking": asking}))


def parse_arguments() -> argparse.Namespace:
    defaults = Asking()
    parser = cli.make_parser(__doc__)
    cli.add_spec(parser, "AskSpec")
    parser.add_argument("--arm", required=True, help="e.g. llm/gpt")
    cli.add_answering_files(parser)
    parser.add_argument("--force", action="store_true", help="ask for every answer again (also SLINGSHOT_FORCE=1)")
    parser.add_argument("--at-once", type=int, default=defaults.at_once, help="requests that wait at the same time")
    parser.add_argument("--per-minute", type=cli.number_or("all"), help="requests per minute at most, or all")
    parser.add_argument("--tokens-per-minute", type=cli.number_or("all"), help="tokens per minute at most, or all")
    parser.add_argument("--timeout-seconds", type=float, default=defaults.timeout_seconds)
    parser.add_argument("--retries", type=int, default=defaults.retries, help="repetitions of a request that failed")
    parser.add_argument(
        "--allowed-errors", type=float, default=defaults.allowed_errors, help="share of samples without an answer"
    )
    return parser.parse_args()


if __name__ == "__main__":
    cli.run(main)
