"""What stands for a server, for requests or for an objective elsewhere is refused at once."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched as js

pytestmark = pytest.mark.jax_defaults

KEY = jax.random.key(0)
REQS = js.Requests.from_arrays(np.arange(8.0), [20, 30] * 4, [3, 5] * 4)
BATCH = js.stack([REQS, REQS])
SERVER = js.Server(kv_capacity=256)
INST = js.Instance.from_lengths([3, 4], [2, 2], kv_capacity=20)
RULE = js.policies.linear_score(["log_output"], [1.0])
O = js.tuning.objectives

NAME = (
    "server is 'llama3.1_8b_h100'; expected a jaxsched.Server; did you mean "
    "js.servers.get('llama3.1_8b_h100')?"
)
NONE = 'server is None; expected a jaxsched.Server, such as js.servers.get("llama3.1_8b_h100")'
OF_A_SERVER = {
    "serve": lambda server: js.serve(REQS, server),
    "compare": lambda server: js.compare(REQS, ["fcfs"], server=server),
    "plan_rate": lambda server: js.plan_rate(REQS, server, ttft_slo_s=1.0),
    "plan_memory": lambda server: js.plan_memory(REQS, server, ttft_slo_s=1.0),
    "tune": lambda server: js.tune(RULE, BATCH, REQS, KEY, server=server),
    "evaluate": lambda server: js.tuning.evaluate(REQS, "fcfs", server=server),
    "traffic": lambda server: js.tuning.traffic(BATCH, server),
    "mean_slowdown": O.mean_slowdown,
    "hindsight": lambda server: js.bounds.hindsight(REQS, server),
    "stability": lambda server: js.bounds.stability(REQS, server),
    "vllm_arguments": js.export.vllm_arguments,
}
BACKLOG = "reqs is an Instance; expected jaxsched.Requests, which arrive over time"
OF_REQUESTS = {
    "serve": lambda reqs: js.serve(reqs, SERVER),
    "plan_rate": lambda reqs: js.plan_rate(reqs, SERVER, ttft_slo_s=1.0),
    "decide": lambda reqs: js.decide(reqs, SERVER, ttft_slo_s=1.0),
    "predict": lambda reqs: js.workloads.predict(reqs, KEY),
    "parts": lambda reqs: js.tuning.parts(reqs, 2, (1, 1)),
    "traffic": lambda reqs: js.tuning.traffic(reqs, SERVER),
    "metrics.traffic": js.metrics.traffic,
    "hindsight": lambda reqs: js.bounds.hindsight(reqs, SERVER),
}


@pytest.mark.parametrize("verb", OF_A_SERVER)
def test_the_name_of_a_server_is_none(verb):
    with pytest.raises(ValueError, match=re.escape(NAME)):
        OF_A_SERVER[verb]("llama3.1_8b_h100")


@pytest.mark.parametrize("verb", OF_A_SERVER)
def test_nothing_is_no_server(verb):
    missing = {"compare", "tune", "evaluate"} & {verb}
    with pytest.raises(ValueError, match="server is missing" if missing else re.escape(NONE)):
        OF_A_SERVER[verb](None)


@pytest.mark.parametrize("verb", OF_REQUESTS)
def test_a_backlog_does_not_arrive(verb):
    with pytest.raises(ValueError, match=re.escape(BACKLOG)):
        OF_REQUESTS[verb](INST)


def test_what_is_no_requests_at_all():
    with pytest.raises(ValueError, match=r"reqs is 'log.csv'; expected jaxsched.Requests"):
        js.serve("log.csv", SERVER)


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ("goodput", "objective is 'goodput'; did you mean js.tuning.objectives.goodput(..)?"),
        ("mean_latency", "objective is 'mean_latency'; did you mean js.tuning.objectives.mean_la"),
        ("goodputs", "objective is 'goodputs'; did you mean js.tuning.objectives.goodput(..)?"),
        ("", "objective is ''; expected one of js.tuning.objectives"),
        (3, "objective is 3; expected one of js.tuning.objectives"),
        (O.goodput, "objective is the function goodput, which makes one; call it: js.tuning.obj"),
    ],
)
def test_what_is_no_objective(objective, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        js.tune(RULE, BATCH, REQS, KEY, server=SERVER, objective=objective)
    with pytest.raises(ValueError, match=re.escape(message)):
        js.tuning.evaluate(REQS, "fcfs", objective, server=SERVER)


@pytest.mark.parametrize("terms", [({},), (3.0,), ((1.0,),), ("ab", 3)])
def test_terms_that_are_no_pairs(terms):
    with pytest.raises(ValueError, match=r"terms\[0\] .*; expected a factor"):
        O.weighted_sum(*terms)


@pytest.mark.parametrize("sigma", ["a", None, [[1.0], 2.0], True])
def test_errors_of_predictions_that_are_no_numbers(sigma):
    with pytest.raises(ValueError, match=r"sigma is .*; expected a finite number >= 0"):
        js.workloads.predict(REQS, KEY, sigma=sigma)


@pytest.mark.parametrize("metrics", [{}, {"attainment": {}}, [1.0]])
def test_no_metrics_to_draw(metrics):
    pytest.importorskip("matplotlib")
    with pytest.raises(ValueError, match=r"metrics is .*; expected values by metric and by rule"):
        js.plots.load([1.0, 2.0], metrics)


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ([("max_num_seqs", 2)], "vary is [('max_num_seqs', 2)]; expected a dict of lists, such as"),
        ({"max_num_seqs": 2}, "vary holds 2 for max_num_seqs; expected a list of values of max_n"),
        ({"max_num_seqs": np.ones((1, 2), int)}, "vary holds array([[1, 1]]) for max_num_seqs; ex"),
        ({"max_num_seqs": np.array([2, 2])}, "vary is [2, 2]; expected values of max_num_seqs tha"),
        ({"max_num_seqs": np.array([0])}, "max_num_seqs[0] is 0; expected a number >= 1"),
    ],
)
def test_settings_to_vary(vary, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        js.plan_rate(REQS, SERVER, vary=vary, ttft_slo_s=2.5)


@pytest.mark.slow
def test_settings_to_vary_may_be_arrays():
    given = {"ttft_slo_s": 2.5, "tolerance": 0.5, "progress": False}
    listed = js.plan_rate(REQS, SERVER, vary={"max_num_seqs": [1, 2]}, **given)
    for array in (np.array([1, 2]), jnp.array([1, 2])):
        plan = js.plan_rate(REQS, SERVER, vary={"max_num_seqs": array}, **given)
        assert plan.settings == listed.settings
        np.testing.assert_array_equal(plan.value, listed.value)


class TestADynamicRuleThatIsNotTraced:
    MESSAGE = "dynamic rule 'impatient' needs concrete numbers .* jnp.where"

    def test_in_its_numbers(self):
        @js.policies.dynamic
        def impatient(obs):
            return obs.waited_s if obs.now_s > 1 else obs.prompt_tokens * 1.0

        with pytest.raises(TypeError, match=self.MESSAGE):
            js.serve(REQS, SERVER, impatient)

    def test_in_its_state(self):
        def update(state, obs, events):
            return state + int(events.step_s)

        def impatient(obs, state):
            return obs.waited_s + state

        rule = js.policies.dynamic(impatient, init=lambda obs: jnp.int32(0), update=update)
        with pytest.raises(TypeError, match=self.MESSAGE):
            js.serve(REQS, SERVER, rule)
