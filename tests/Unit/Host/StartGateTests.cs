using Pollux.DataPlane.Modules;

namespace Pollux.Tests.Unit.Host;

public sealed class StartGateTests
{
    private readonly List<string> _started = [];
    private readonly StartGate _gate;
    private long _nowMs = 1_000;

    public StartGateTests() => _gate = new StartGate(() => _nowMs);

    [Fact]
    public void Some_vms_start_at_once_and_the_others_by_priority_as_places_become_free()
    {
        foreach (var module in new[] { "a", "b", "c", "d" })
            Ask(module, 5);
        Ask("late", 9);
        Ask("first", 1);
        Ask("second", 5);
        Assert.Equal(["a", "b", "c", "d"], _started);
        Assert.Contains("a, b, c, d", _gate.Waiting("late"), StringComparison.Ordinal);
        foreach (var ended in new[] { "b", "a", "first" })
            _gate.Ended(ended);
        Assert.Equal(["a", "b", "c", "d", "first", "second", "late"], _started);
        Assert.Null(_gate.Waiting("late"));
    }

    [Fact]
    public void Thirty_two_modules_start_in_priority_order_whatever_order_they_are_ready_in_and_never_more_than_the_limit()
    {
        // 13 and 32 have no common divisor: every number once, in no order of priorities.
        var modules = Enumerable.Range(0, 32).Select(number => number * 13 % 32).Select(number => (Name: $"m{number:00}", Priority: 1 + number % 9)).ToList();
        foreach (var (name, priority) in modules)
            _gate.Announce(name, priority, coming: true);
        foreach (var (name, priority) in modules)
            Ask(name, priority);
        var inFlight = new Queue<string>(_started);
        Assert.Equal(StartGate.InFlightMax, inFlight.Count);
        while (inFlight.TryDequeue(out var ended))
        {
            var before = _started.Count;
            _gate.Ended(ended);
            foreach (var started in _started.Skip(before))
                inFlight.Enqueue(started);
            Assert.True(inFlight.Count <= StartGate.InFlightMax);
        }

        var priorities = _started.Select(name => modules.Single(module => module.Name == name).Priority).ToList();
        Assert.Equal(32, priorities.Count);
        Assert.Equal(priorities.Order(), priorities);
    }

    [Fact]
    public void A_module_that_opens_its_volume_still_goes_before_one_of_a_later_priority_for_a_while()
    {
        _gate.Announce("important", 1, coming: true);
        Ask("other", 5);
        Ask("same", 1);
        Assert.Empty(_started.Except(["same"]));
        Assert.Contains("important", _gate.Waiting("other"), StringComparison.Ordinal);
        _nowMs += StartGate.ComingMs - 1;
        _gate.Announce("important", 1, coming: true); // Said again: its time does not begin anew.
        Assert.DoesNotContain("other", _started);
        _nowMs += 1;
        _gate.Look();
        Assert.Contains("other", _started);
    }

    [Fact]
    public void One_that_is_not_coming_any_more_holds_nobody_back()
    {
        _gate.Announce("important", 1, coming: true);
        Ask("other", 5);
        _gate.Announce("important", 1, coming: false);
        Assert.Equal(["other"], _started);
    }

    [Fact]
    public void Starts_that_hang_keep_their_places_for_half_a_minute_and_are_told()
    {
        foreach (var module in new[] { "a", "b", "c", "d" })
            Ask(module, 1);
        Ask("next", 5);
        _nowMs += StartGate.SlowAfterMs - 1;
        _gate.Look();
        Assert.Null(_gate.SlowMs("a"));
        Assert.DoesNotContain("next", _started);
        _nowMs += 1;
        _gate.Look();
        Assert.Equal(StartGate.SlowAfterMs, _gate.SlowMs("a"));
        Assert.Contains("next", _started);
        _gate.Ended("a");
        Assert.Null(_gate.SlowMs("a"));
    }

    [Fact]
    public void A_start_that_is_taken_back_never_comes()
    {
        foreach (var module in new[] { "a", "b", "c", "d" })
            Ask(module, 5);
        Ask("gone", 5);
        _gate.Ended("gone");
        foreach (var module in new[] { "a", "b", "c", "d" })
            _gate.Ended(module);
        Assert.DoesNotContain("gone", _started);
    }

    private void Ask(string module, int priority) => _gate.Ask(module, priority, () => _started.Add(module));
}
