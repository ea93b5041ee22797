"""What probes say about a model: scores, paired comparison, other engines."""

from bankai.evaluation.batches import Prepared, prepare
from bankai.evaluation.engine import Engine, Reply, Trace
from bankai.evaluation.engines import LlamaEngine, MlxEngine, TorchEngine, open_engine
from bankai.evaluation.evaluate import evaluate_file
from bankai.evaluation.replies import JudgedReply, judge_replies
from bankai.evaluation.report import Comparison, Summary, compare, summarize
from bankai.evaluation.scoring import ProbeScore, perplexity, score, score_probes
from bankai.evaluation.statistics import mcnemar_exact, wilson
from bankai.evaluation.text import TextReport, measure_text, measure_text_file

__all__ = [
    "Comparison",
    "Engine",
    "JudgedReply",
    "LlamaEngine",
    "MlxEngine",
    "Prepared",
    "ProbeScore",
    "Reply",
    "Summary",
    "TextReport",
    "TorchEngine",
    "Trace",
    "compare",
    "evaluate_file",
    "judge_replies",
    "mcnemar_exact",
    "measure_text",
    "measure_text_file",
    "open_engine",
    "perplexity",
    "prepare",
    "score",
    "score_probes",
    "summarize",
    "wilson",
]
