using Pollux.DataPlane.Core.Roles;
using Pollux.DataPlane.Peers;

namespace Pollux.Tests.Unit.Peers;

public sealed class BeaconSieveTests
{
    private readonly BeaconSieve _sieve = new();
    private readonly PeerConnection _first = new(Stream.Null);
    private readonly PeerConnection _second = new(Stream.Null);
    private readonly Guid _process = Guid.NewGuid();

    [Fact]
    public void A_beacon_over_two_networks_counts_once_and_is_answered_over_both()
    {
        Assert.True(_sieve.IsNew("m", Beacon(_process, 1), _first, out _));
        Assert.False(_sieve.IsNew("m", Beacon(_process, 1), _second, out var none));
        Assert.Null(none);
        Assert.Equal([_first, _second], _sieve.WaysOf("m", Answer(1)));
    }

    [Fact]
    public void A_beacon_that_comes_again_after_its_answer_gets_the_same_answer()
    {
        _sieve.IsNew("m", Beacon(_process, 1), _first, out _);
        Assert.Equal([_first], _sieve.WaysOf("m", Answer(1)));
        Assert.False(_sieve.IsNew("m", Beacon(_process, 1), _second, out var again));
        Assert.Equal(Answer(1), again);
        // The next beacon is not answered by it.
        Assert.True(_sieve.IsNew("m", Beacon(_process, 2), _first, out _));
        Assert.False(_sieve.IsNew("m", Beacon(_process, 2), _second, out var none));
        Assert.Null(none);
    }

    [Fact]
    public void An_older_beacon_of_a_slower_network_is_dropped()
    {
        _sieve.IsNew("m", Beacon(_process, 2), _first, out _);
        Assert.False(_sieve.IsNew("m", Beacon(_process, 1), _second, out var answer));
        Assert.Null(answer);
        Assert.True(_sieve.IsNew("other", Beacon(_process, 1), _second, out _));
    }

    [Fact]
    public void A_beacon_of_a_dead_process_does_not_come_after_one_of_its_successor()
    {
        var successor = Guid.NewGuid();
        _sieve.IsNew("m", Beacon(_process, 7), _first, out _);
        Assert.True(_sieve.IsNew("m", Beacon(successor, 1), _first, out _));
        Assert.False(_sieve.IsNew("m", Beacon(_process, 8), _second, out _));
        Assert.True(_sieve.IsNew("m", Beacon(successor, 2), _second, out _));
    }

    [Fact]
    public void An_answer_counts_once_and_an_older_one_not_at_all()
    {
        Assert.True(_sieve.IsNew("m", Answer(1)));
        Assert.False(_sieve.IsNew("m", Answer(1)));
        Assert.True(_sieve.IsNew("m", Answer(3)));
        Assert.False(_sieve.IsNew("m", Answer(2)));
        Assert.True(_sieve.IsNew("other", Answer(2)));
        // Another process answers.
        Assert.True(_sieve.IsNew("m", Answer(2) with { AnswererIncarnation = Guid.NewGuid() }));
    }

    [Fact]
    public void Nothing_goes_back_over_a_connection_that_has_ended()
    {
        _sieve.IsNew("m", Beacon(_process, 1), _first, out _);
        _sieve.IsNew("m", Beacon(_process, 1), _second, out _);
        _sieve.Ended(_first);
        Assert.Equal([_second], _sieve.WaysOf("m", Answer(1)));
    }

    [Fact]
    public void More_modules_than_there_may_be_are_refused()
    {
        for (var i = 0; i < PeerConnection.SlotsMax; i++)
            _sieve.IsNew($"m{i}", Beacon(_process, 1), _first, out _);
        Assert.Throws<InvalidDataException>(() => _sieve.IsNew("one more", Beacon(_process, 1), _first, out _));
    }

    private BeaconAnswer Answer(long sequence) => new(_process, sequence, Guid.Empty);

    private static Beacon Beacon(Guid process, long sequence) => new(process, sequence, Role.Prim, true, DataState.UpToDate,
        new AuthorityRecord(Guid.Empty, 3, "c1/a", ["c1/a", "c1/b"]), false, false, false, true);
}
