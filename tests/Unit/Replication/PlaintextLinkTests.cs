using System.Net;
using System.Net.Sockets;
using Pollux.DataPlane.Core.Replication;
using Pollux.DataPlane.Replication;

namespace Pollux.Tests.Unit.Replication;

public class PlaintextLinkTests
{
    [ReplicationFact]
    public async Task With_the_policy_the_authenticated_connection_carries_a_token_and_no_data()
    {
        await using var pair = new ReplicationPair(plaintext: true);
        var secured = new Metered();
        pair.B.Wrap = secured.Wrap;
        await pair.ServeMirrored();
        var file = await pair.A.Create("disk");
        Assert.Equal(0, await pair.A.Write(file, 0, new byte[1 << 20]));
        Assert.Equal(0, await pair.A.Flush());
        Assert.InRange(secured.Bytes, 1, 1024);
        pair.AssertEqual();
    }

    [ReplicationFact]
    public async Task A_host_without_the_policy_keeps_the_link_encrypted_and_mirrors_all_the_same()
    {
        await using var pair = new ReplicationPair(plaintext: false);
        var secured = new Metered();
        pair.B.Wrap = secured.Wrap;
        await pair.ServeMirrored();
        var file = await pair.A.Create("disk");
        Assert.Equal(0, await pair.A.Write(file, 0, new byte[1 << 20]));
        Assert.Equal(0, await pair.A.Flush());
        Assert.InRange(secured.Bytes, 1 << 20, long.MaxValue);
        pair.AssertEqual();
    }

    [Fact]
    public void A_token_is_good_once_for_its_peer_and_module_and_for_a_short_time()
    {
        var tokens = new PlaintextTokens();
        var token = tokens.Issue("c/b", "c/m", nowMs: 1_000);
        var grant = tokens.Redeem(token, nowMs: 1_001)!;
        Assert.Equal(("c/b", "c/m"), (grant.PeerHost, grant.Module));
        Assert.Null(tokens.Redeem(token, nowMs: 1_002));
        var late = tokens.Issue("c/b", "c/m", nowMs: 2_000);
        Assert.Null(tokens.Redeem(late, nowMs: 2_000 + (long)ReplicationListener.GreetingDeadline.TotalMilliseconds));
        Assert.Null(tokens.Redeem(new byte[PlaintextLink.TokenBytes], nowMs: 2_000));
    }

    [Fact]
    public void Unused_tokens_are_bounded_and_make_room_when_they_end()
    {
        var tokens = new PlaintextTokens();
        for (var i = 0; i < PlaintextTokens.TokensMax; i++)
            Assert.NotEmpty(tokens.Issue("c/b", "c/m", nowMs: 0));
        Assert.Empty(tokens.Issue("c/b", "c/m", nowMs: 1));
        Assert.NotEmpty(tokens.Issue("c/b", "c/m", nowMs: 60_000));
    }

    [Fact]
    public async Task A_connection_with_a_token_that_was_not_given_is_closed_without_a_word()
    {
        await using var listener = new ReplicationListener(
            new IPEndPoint(IPAddress.Loopback, 0), static (_, _) => throw new InvalidOperationException("must not be authenticated"), static _ => null,
            TimeSpan.FromSeconds(3));
        using var client = new TcpClient();
        await client.ConnectAsync(listener.EndPoint);
        byte[] opening = [.. PlaintextLink.OpeningMagic, .. new byte[PlaintextLink.TokenBytes]];
        await client.GetStream().WriteAsync(opening);
        Assert.Equal(0, await client.GetStream().ReadAsync(new byte[1]).AsTask().WaitAsync(ReplicationHost.Deadline));
    }

    /// <summary>Counts what arrives through the connections that were authenticated.</summary>
    private sealed class Metered
    {
        private long _bytes;

        public long Bytes => Interlocked.Read(ref _bytes);

        public ILinkLayer Wrap(ILinkLayer layer) => new Counting(layer, this);

        private sealed unsafe class Counting(ILinkLayer inner, Metered meter) : FilterLayer(inner)
        {
            public override int Receive(byte* buffer, int bytes)
            {
                var got = base.Receive(buffer, bytes);
                Interlocked.Add(ref meter._bytes, Math.Max(got, 0));
                return got;
            }
        }
    }
}
