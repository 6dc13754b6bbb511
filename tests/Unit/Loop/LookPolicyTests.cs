using Pollux.DataPlane.Loop;

namespace Pollux.Tests.Unit.Loop;

public class LookPolicyTests
{
    private const long Look = 100;
    private LookPolicy _policy = new(Look);

    [Fact]
    public void An_idle_loop_sleeps_at_once()
    {
        Assert.Equal(0, LooksOf(1000, (_, _) => 100 * Look));
    }

    [Fact]
    public void Waits_that_are_long_only_because_everybody_sleeps_become_short()
    {
        // 150 asleep, 30 awake: begun asleep it must not stay so.
        Assert.InRange(LooksOf(1000, (looks, _) => looks ? 30 : 150), 950, 1000);
    }

    [Fact]
    public void Looks_that_find_something_twice_in_three_times_go_on_whatever_the_third_takes()
    {
        Assert.InRange(LooksOf(1000, (_, i) => i % 3 == 0 ? 4 * Look : Look / 3), 950, 1000);
    }

    [Fact]
    public void Looking_in_vain_is_tried_seldom()
    {
        // Short enough to try, never short enough to find: 2 looks in 10 waits at most.
        Assert.InRange(LooksOf(10_000, (_, _) => 2 * Look), 1, 2_000);
    }

    [Fact]
    public void A_loop_that_falls_idle_stops_looking_soon()
    {
        LooksOf(1000, (_, _) => Look / 4);
        Assert.True(_policy.Looks);
        Assert.InRange(LooksOf(1000, (_, _) => 100 * Look), 1, 30);
        Assert.False(_policy.Looks);
    }

    private int LooksOf(int waits, Func<bool, int, long> ticksOf)
    {
        var looks = 0;
        for (var i = 0; i < waits; i++)
        {
            looks += _policy.Looks ? 1 : 0;
            _policy.Waited(ticksOf(_policy.Looks, i));
        }
        return looks;
    }
}
