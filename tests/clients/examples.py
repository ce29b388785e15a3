"""Random queries by examples, and formulas."""

from qdrant_client import models

import generate
from queries import MOMENTS


def example(rng, using, points):
    """A point that is there, or a vector."""
    return generate.point_id(rng.randrange(points)) if rng.random() < 0.5 else generate.vector(rng, using)


def recommend(rng, using, points):
    strategy = rng.choice([None, *models.RecommendStrategy])
    positive = [example(rng, using, points) for _ in range(rng.randint(1, 3))]
    negative = [example(rng, using, points) for _ in range(rng.randint(0, 2))]
    if strategy in (models.RecommendStrategy.BEST_SCORE, models.RecommendStrategy.SUM_SCORES) and rng.random() < 0.2:
        positive = []
    return models.RecommendQuery(
        recommend=models.RecommendInput(positive=positive, negative=negative, strategy=strategy)
    )


def pairs(rng, using, points, least):
    return [
        models.ContextPair(positive=example(rng, using, points), negative=example(rng, using, points))
        for _ in range(rng.randint(least, 3))
    ]


def discover(rng, using, points):
    target, context = example(rng, using, points), pairs(rng, using, points, 0)
    return models.DiscoverQuery(discover=models.DiscoverInput(target=target, context=context))


def context(rng, using, points):
    return models.ContextQuery(context=pairs(rng, using, points, 1))


def diverse(rng, using, points):
    """Maximal marginal relevance."""
    mmr = models.Mmr(diversity=rng.choice([None, 0.0, 0.3, 0.8, 1.0]), candidates_limit=rng.choice([None, 10, 40]))
    return models.NearestQuery(nearest=generate.vector(rng, using), mmr=mmr)


def near_zero(rng):
    return rng.choice([0.5, 1.0, 2.5])


def expression(rng, sources, depth=2):
    """A formula that is finite for every point."""
    leaves = [
        lambda: rng.choice([-1.5, 0.25, 2.0]),
        lambda: "$score",
        lambda: f"$score[{rng.randrange(sources)}]",
        lambda: "weight",
        lambda: "count",
        lambda: generate.keyword_condition(rng),
        lambda: models.GeoDistance(
            geo_distance=models.GeoDistanceParams(
                origin=models.GeoPoint(lon=rng.uniform(-180, 180), lat=rng.uniform(-80, 80)), to="home"
            )
        ),
    ]
    if not depth or rng.random() < 0.3:
        return rng.choice(leaves)()

    def inner():
        return expression(rng, sources, depth - 1)

    def positive():
        return models.SumExpression(sum=[models.AbsExpression(abs=inner()), 0.5])

    def decay():
        return models.DecayParamsExpression(
            x=rng.choice(["weight", "count"]), target=near_zero(rng), scale=near_zero(rng) * 4, midpoint=0.3
        )

    def age():
        return models.DecayParamsExpression(
            x=models.DatetimeKeyExpression(datetime_key="made"),
            target=models.DatetimeExpression(datetime=rng.choice(MOMENTS)),
            scale=86_400.0 * 30,
        )

    return rng.choice(
        [
            lambda: models.SumExpression(sum=[inner() for _ in range(rng.randint(1, 3))]),
            lambda: models.MultExpression(mult=[inner() for _ in range(rng.randint(1, 2))]),
            lambda: models.NegExpression(neg=inner()),
            lambda: models.AbsExpression(abs=inner()),
            lambda: models.MaxExpression(max=[inner(), inner()]),
            lambda: models.MinExpression(min=[inner(), inner()]),
            lambda: models.AcoshExpression(acosh=models.SumExpression(sum=[positive(), 1.0])),
            lambda: models.DivExpression(div=models.DivParams(left=inner(), right=positive())),
            lambda: models.DivExpression(div=models.DivParams(left=inner(), right=0.0, by_zero_default=1.5)),
            lambda: models.SqrtExpression(sqrt=positive()),
            lambda: models.LnExpression(ln=positive()),
            lambda: models.Log10Expression(log10=positive()),
            lambda: models.PowExpression(pow=models.PowParams(base=positive(), exponent=rng.choice([0.5, 2.0]))),
            lambda: models.ExpDecayExpression(exp_decay=decay()),
            lambda: models.GaussDecayExpression(gauss_decay=decay()),
            lambda: models.LinDecayExpression(lin_decay=age()),
        ]
    )()


def formula(rng, sources):
    """A formula, and what stands in for values that a point lacks."""
    defaults = {
        "weight": 1.0,
        "count": 0.0,
        "$score": 0.1,
        **{f"$score[{i}]": 0.2 for i in range(sources)},
        "home": {"lon": 10.0, "lat": 50.0},
        "made": MOMENTS[0],
    }
    return models.FormulaQuery(formula=expression(rng, sources), defaults=defaults)
