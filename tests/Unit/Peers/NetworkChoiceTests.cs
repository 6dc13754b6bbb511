using Pollux.DataPlane.Peers;

namespace Pollux.Tests.Unit.Peers;

public sealed class NetworkChoiceTests
{
    // Detection 3 s: silent after 800 ms, steady after 6 s.
    private static readonly PeerTempo Tempo = new(3_000);
    private static readonly NetworkReading Steady = new(50, 60_000);
    private static readonly NetworkReading Back = new(50, 1_000);
    private static readonly NetworkReading Silent = new(900, 0);
    private static readonly NetworkReading Unknown = new(null, 0);

    [Fact]
    public void The_preferred_network_is_dialled_first()
    {
        Assert.Equal([1, 2], NetworkChoice.DialOrder([Steady, Steady], Tempo).ToArray());
        Assert.Equal([1, 2], NetworkChoice.DialOrder([Unknown, Unknown], Tempo).ToArray());
        Assert.Equal([1], NetworkChoice.DialOrder([Silent], Tempo).ToArray());
        Assert.Empty(NetworkChoice.DialOrder([], Tempo));
    }

    [Fact]
    public void A_silent_network_is_dialled_last()
    {
        Assert.Equal([2, 1], NetworkChoice.DialOrder([Silent, Steady], Tempo).ToArray());
        Assert.Equal([2, 3, 1], NetworkChoice.DialOrder([Silent, Unknown, Unknown], Tempo).ToArray());
        Assert.Equal([1, 2], NetworkChoice.DialOrder([Silent, Silent], Tempo).ToArray());
    }

    [Fact]
    public void A_network_that_has_just_come_back_is_not_dialled_before_a_steady_one() =>
        Assert.Equal([2, 1], NetworkChoice.DialOrder([Back, Steady], Tempo).ToArray());

    [Fact]
    public void A_silent_network_is_left_only_for_one_that_is_heard()
    {
        Assert.Equal(NetworkVerdict.Leave, NetworkChoice.Judge(1, [Silent, Steady], Tempo));
        Assert.Equal(NetworkVerdict.Leave, NetworkChoice.Judge(2, [Back, Silent], Tempo));
        Assert.Equal(NetworkVerdict.Stay, NetworkChoice.Judge(1, [Silent, Silent], Tempo));
        Assert.Equal(NetworkVerdict.Stay, NetworkChoice.Judge(1, [Silent, Unknown], Tempo));
        Assert.Equal(NetworkVerdict.Stay, NetworkChoice.Judge(1, [Silent], Tempo));
        // Both have fallen silent, one a moment later than the other.
        Assert.Equal(NetworkVerdict.Stay, NetworkChoice.Judge(1, [Silent, new NetworkReading(700, 60_000)], Tempo));
    }

    [Fact]
    public void It_goes_back_when_a_preferred_network_has_been_steady()
    {
        Assert.Equal(NetworkVerdict.Stay, NetworkChoice.Judge(2, [Back, Steady], Tempo));
        Assert.Equal(NetworkVerdict.GoBack, NetworkChoice.Judge(2, [Steady, Steady], Tempo));
        Assert.Equal(NetworkVerdict.GoBack, NetworkChoice.Judge(3, [Silent, Steady, Steady], Tempo));
        Assert.Equal(NetworkVerdict.Stay, NetworkChoice.Judge(1, [Steady, Steady], Tempo));
        Assert.Equal(NetworkVerdict.GoBack, NetworkChoice.Judge(0, [Steady], Tempo));
        Assert.Equal(NetworkVerdict.Stay, NetworkChoice.Judge(0, [], Tempo));
    }
}
