# The names of __init__.py for type checkers and editors, which do not run its __getattr__.

from jaxsched import bounds as bounds
from jaxsched import calibrate as calibrate
from jaxsched import clock as clock
from jaxsched import export as export
from jaxsched import metrics as metrics
from jaxsched import plots as plots
from jaxsched import policies as policies
from jaxsched import servers as servers
from jaxsched import sweeps as sweeps
from jaxsched import testing as testing
from jaxsched import traces as traces
from jaxsched import tuning as tuning
from jaxsched import workloads as workloads
from jaxsched.engine.simulate import simulate as simulate
from jaxsched.model.instance import Instance as Instance
from jaxsched.model.outcome import Outcome as Outcome
from jaxsched.model.requests import Requests as Requests
from jaxsched.model.schedule import Schedule as Schedule
from jaxsched.model.schedule import Status as Status
from jaxsched.model.server import Server as Server
from jaxsched.model.service.verify_service import ServiceVerdict as ServiceVerdict
from jaxsched.model.service.verify_service import verify_service as verify_service
from jaxsched.model.stack import stack as stack
from jaxsched.model.verify import Verdict as Verdict
from jaxsched.model.verify import verify as verify
from jaxsched.policies import prioritize as prioritize
from jaxsched.policies import serve as serve
from jaxsched.search.improve import Improvement as Improvement
from jaxsched.search.improve import improve as improve
from jaxsched.studies.capacity.capacity_plan import CapacityPlan as CapacityPlan
from jaxsched.studies.capacity.plan_capacity import plan_capacity as plan_capacity
from jaxsched.studies.comparing.compare import compare as compare
from jaxsched.studies.comparing.comparison import Comparison as Comparison
from jaxsched.studies.decisions.decide import decide as decide
from jaxsched.studies.decisions.decision import Decision as Decision
from jaxsched.studies.rates.plan_needs import plan_memory as plan_memory
from jaxsched.studies.rates.plan_needs import plan_servers as plan_servers
from jaxsched.studies.rates.plan_rate import plan_rate as plan_rate
from jaxsched.studies.rates.service_plan import ServicePlan as ServicePlan
from jaxsched.studies.serving.service_comparison import ServiceComparison as ServiceComparison
from jaxsched.sweeps import load_sweep as load_sweep
from jaxsched.sweeps import run_sweep as run_sweep
from jaxsched.tuning import tune as tune

__all__: list[str]
