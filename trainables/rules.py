"""Rules between the parameters of our models, which their bounds cannot express."""

from collections.abc import Iterator

from trainables.model import Complaint, Reach


def ncsn(reach: Reach) -> Iterator[Complaint]:
    """Yield parameters of Langevin dynamics that would have no effect, and samplers that the network cannot take."""
    if reach.is_searched("step_size") and reach.extremes("step_lr")[1] > 0:
        yield Complaint(("step_size", "step_lr"), "step_size has no effect together with step_lr", "keep one of them")
    needs_levels = "refinenet" in reach.choices("arch") or "sigma" in reach.choices("conditioning")
    samplers = reach.choices("sampler")
    if samplers == {"heun"} and needs_levels:
        yield Complaint(
            ("sampler", "arch", "conditioning"),
            "heun needs a network that takes any noise level: arch unet or resunet, conditioning log_sigma",
        )
    if "heun" not in samplers:
        return
    for name in ("step_size", "step_lr", "ladder", "steps_per_level"):
        if reach.is_searched(name) and not reach.is_searched_when(name, "sampler", "langevin"):
            both = reach.is_searched("sampler")
            hint = "add `when: {sampler: langevin}`" if both else f"fix {name}, or drop it"
            yield Complaint((name,), "has no effect with sampler heun", hint)


def beta_vae(reach: Reach) -> Iterator[Complaint]:
    """Yield a KL warm-up that lasts beyond the first rung."""
    longest = reach.extremes("kl_warmup_kimg")[1]
    if longest > reach.first_rung:
        yield Complaint(
            ("kl_warmup_kimg",),
            f"the warm-up ({longest:g} kimg) must end before the first rung ({reach.first_rung:g} kimg)",
            "otherwise rungs compare different objectives",
        )
