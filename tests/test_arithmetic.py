"""What the paper prints of its own network, by arithmetic."""

from repro.experiments.arithmetic import judged


def test_the_numbers_of_the_network_are_judged_as_its_layers_give_them() -> None:
    found = {one.what: (one.found, one.holds) for one in judged()}
    assert found["parameters"] == ("60,965,224", True)
    assert found["neurons"] == ("659,272", True)
    assert found["share of the parameters that a convolution has, at most"] == ("conv3 1.45%, conv4 1.09%", False)
    assert found["neurons of the first layer"] == ("290,400", False)
    assert found["positions and mirror images of a crop"] == ("2,178", False)
    assert all(holds for what, (_, holds) in found.items() if what.startswith("neurons of ") and "first" not in what)
