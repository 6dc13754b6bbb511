using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Pollux.DataPlane.Core;
using Pollux.DataPlane.Identity;
using Pollux.DataPlane.Loop;
using Pollux.DataPlane.Replication;
using Pollux.Tests.Unit.Hosts;

namespace Pollux.Tests.Unit.Replication;

/// <summary>Frames over real sockets between two event loops, plain and by TLS 1.3.</summary>
public class LinkChannelTests
{
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(20);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Frames_of_all_sizes_arrive_in_order_and_as_they_were(bool encrypted)
    {
        using var pair = await Pair.ConnectAsync(encrypted);
        var random = new SeededRandom(11);
        var sizes = Enumerable.Range(0, 400).Select(i => i % 37 < 4 ? FrameHeader.DataBytesMax - (i % 3 * 100_000) : random.Below(40_000)).ToArray();
        var sums = new List<uint>();
        var arrived = new TaskCompletionSource();
        var breaches = new List<string>();
        pair.B.Received = (header, payload) =>
        {
            if (header.Sequence != (ulong)sums.Count + 1)
                breaches.Add($"frame {header.Sequence} after {sums.Count}");
            sums.Add(Crc32C.Compute(payload));
            if (sums.Count == sizes.Length)
                arrived.SetResult();
        };
        var expected = new List<uint>();
        var next = 0;
        // Frames are added as room allows, some from pool buffers and some from elsewhere.
        pair.A.Turn = () =>
        {
            while (next < sizes.Length && pair.A.Channel.SendRoomBytes > sizes[next] + FrameHeader.SizeBytes)
            {
                var content = MirroringTests.Pattern(next, sizes[next]);
                expected.Add(Crc32C.Compute(content));
                pair.A.Send(new FrameHeader(FrameKind.Write, FrameFlags.None, content.Length, 3, (ulong)next + 1, 7, next), content, fromPool: next % 2 == 0);
                next++;
            }
        };
        pair.Start();
        await arrived.Task.WaitAsync(Deadline);
        Assert.Empty(breaches);
        Assert.Equal(expected, sums);
        Assert.Null(pair.B.Channel.EndReason);
        await pair.A.DoAsync(() => Assert.Equal(pair.A.Buffers.Count, pair.A.Buffers.FreeCount));
    }

    /// <summary>The runtime keeps a socket registered after its first asynchronous operation: each packet would then wake the runtime's
    /// poller, and that a thread of the pool which spins.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task No_poller_of_the_runtime_watches_a_link(bool encrypted)
    {
        using var pair = await Pair.ConnectAsync(encrypted);
        pair.Start();
        var watched = Directory.GetFiles("/proc/self/fdinfo").SelectMany(TryReadLines).Where(line => line.StartsWith("tfd:", StringComparison.Ordinal))
            .Select(line => int.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture)).ToHashSet();
        Assert.NotEmpty(watched);
        Assert.DoesNotContain(pair.A.Channel.Descriptor, watched);
        Assert.DoesNotContain(pair.B.Channel.Descriptor, watched);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_peer_that_stops_reading_leaves_no_room_and_takes_no_memory(bool encrypted)
    {
        using var pair = await Pair.ConnectAsync(encrypted);
        var full = new TaskCompletionSource();
        var arrived = 0L;
        var sent = 0L;
        var all = new TaskCompletionSource();
        var content = new byte[64 << 10];
        pair.B.Channel.WantsInput = false;
        pair.B.Received = (_, payload) =>
        {
            arrived += payload.Length;
            if (full.Task.IsCompleted && arrived == Volatile.Read(ref sent))
                all.TrySetResult();
        };
        pair.A.Turn = () =>
        {
            while (!full.Task.IsCompleted && pair.A.Channel.SendRoomBytes > content.Length + FrameHeader.SizeBytes)
            {
                pair.A.Channel.Add(new FrameHeader(FrameKind.Write, FrameFlags.None, content.Length, 1, 1, 1, 0), content);
                sent += content.Length;
                if (sent > 256 << 20)
                    full.TrySetException(new InvalidOperationException("the queue grows without a bound"));
            }
            if (pair.A.Channel.UnsentBytes > 6 << 20)
                full.TrySetResult();
        };
        pair.Start();
        await full.Task.WaitAsync(Deadline);
        await pair.B.DoAsync(() => pair.B.Channel.WantsInput = true);
        await all.Task.WaitAsync(Deadline);
    }

    [Fact]
    public async Task A_frame_of_another_session_ends_the_link()
    {
        using var pair = await Pair.ConnectAsync(encrypted: false);
        var ended = new TaskCompletionSource<string>();
        pair.B.Ended = reason => ended.TrySetResult(reason);
        pair.Start();
        await pair.B.DoAsync(() => pair.B.Channel.Name(Guid.NewGuid()));
        await pair.A.DoAsync(() =>
        {
            pair.A.Channel.Name(Guid.NewGuid());
            pair.A.Channel.Add(new FrameHeader(FrameKind.Hello, FrameFlags.None, 0, 1, 0, 0, 0), default);
            pair.A.Channel.Add(new FrameHeader(FrameKind.Ping, FrameFlags.None, 0, 1, 0, 0, 0), default);
        });
        Assert.Contains("BadChecksum", await ended.Task.WaitAsync(Deadline));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task The_last_frame_before_the_end_arrives_although_much_was_left_unread(bool encrypted)
    {
        using var pair = await Pair.ConnectAsync(encrypted);
        var told = new TaskCompletionSource<FrameKind>();
        pair.A.Received = (header, _) => told.TrySetResult(header.Kind);
        pair.B.Channel.WantsInput = false;
        pair.Start();
        await pair.A.DoAsync(() =>
        {
            for (var i = 0; i < 64; i++)
                pair.A.Channel.Add(new FrameHeader(FrameKind.Write, FrameFlags.None, 16_000, 1, 1, 1, 0), new byte[16_000]);
        });
        await pair.B.DoAsync(() =>
        {
            pair.B.Channel.Add(new FrameHeader(FrameKind.Failed, FrameFlags.None, 0, 1, 0, 0, 0), default);
            pair.B.Channel.Part();
        });
        Assert.Equal(FrameKind.Failed, await told.Task.WaitAsync(Deadline));
    }

    [Fact]
    public async Task The_end_of_the_peer_is_seen_at_once()
    {
        using var pair = await Pair.ConnectAsync(encrypted: true);
        var ended = new TaskCompletionSource<string>();
        pair.B.Ended = reason => ended.TrySetResult(reason);
        pair.Start();
        await pair.A.DoAsync(() =>
        {
            pair.A.Loop.Remove(pair.A.Channel);
            pair.A.Channel.Dispose();
        });
        Assert.NotEmpty(await ended.Task.WaitAsync(Deadline));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_frame_that_is_sent_and_received_allocates_nothing(bool encrypted)
    {
        const int rounds = 4_000;
        // Bytes per frame: the smallest object takes 24.
        const int allocatedBytesMax = 12;
        var (a, b) = await Pair.ConnectionsAsync(encrypted);
        using var buffers = new BufferPool(8);
        using var sender = new LinkChannel(a, buffers, _ => { });
        using var receiver = new LinkChannel(b, buffers, _ => { });
        var payload = new byte[4096];
        Run();
        var before = GC.GetAllocatedBytesForCurrentThread();
        Run();
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, rounds * allocatedBytesMax);

        // Both ends on this thread, whose allocations are counted.
        void Run()
        {
            var deadline = Environment.TickCount64 + (long)Deadline.TotalMilliseconds;
            for (var round = 0; round < rounds; round++)
            {
                sender.Add(new FrameHeader(FrameKind.Write, FrameFlags.None, payload.Length, 1, 1, 1, 0), payload);
                sender.Send();
                while (!receiver.TryNext(out _, out _, out _))
                {
                    receiver.Receive();
                    Assert.True(Environment.TickCount64 < deadline && receiver.EndReason is null, "the frame does not arrive");
                }
            }
        }
    }

    private delegate void FrameHandler(FrameHeader header, ReadOnlySpan<byte> payload);

    private sealed class End : ILoopOwner, IDisposable
    {
        public End(string name, LinkConnection connection)
        {
            Loop = new EventLoop(name, this, e => Ended(e.ToString()));
            Channel = new LinkChannel(connection, Buffers, _ => Readable());
        }

        public EventLoop Loop { get; }
        public BufferPool Buffers { get; } = new(8);
        public LinkChannel Channel { get; }
        public FrameHandler Received { get; set; } = static (_, _) => { };
        public Action Turn { get; set; } = static () => { };
        public Action<string> Ended { get; set; } = static _ => { };

        public Task DoAsync(Action action)
        {
            var done = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            Loop.Post(() =>
            {
                action();
                done.SetResult();
            });
            return done.Task.WaitAsync(Deadline);
        }

        public unsafe void Send(in FrameHeader header, byte[] content, bool fromPool)
        {
            if (fromPool && Buffers.TryRent(out var buffer))
            {
                content.CopyTo(new Span<byte>(Buffers.Payload(buffer), content.Length));
                Channel.Add(header, buffer, Buffers.Payload(buffer), content.Length);
                Buffers.Release(buffer);
                return;
            }
            Channel.Add(header, content);
        }

        public void EndTurn()
        {
            while (Channel is { WantsInput: true, MayHoldMore: true })
                Readable();
            Turn();
            Channel.Send();
            Turn();
            if (Channel.EndReason is { } reason)
                Ended(reason);
        }

        public void Tick(long nowMs)
        {
        }

        public void Dispose()
        {
            Loop.Post(() =>
            {
                Loop.Remove(Channel);
                Channel.Dispose();
            });
            Loop.Dispose();
            Assert.True(Loop.Join(Deadline));
            Buffers.Dispose();
        }

        private void Readable()
        {
            if (!Channel.Receive() && Channel.EndReason is not null)
                Loop.Remove(Channel);
            while (Channel.TryNext(out var header, out var payload, out _))
                Received(header, payload);
        }
    }

    /// <summary>Descriptors of other tests come and go.</summary>
    private static string[] TryReadLines(string path)
    {
        try
        {
            return File.ReadAllLines(path);
        }
        catch (IOException)
        {
            return [];
        }
    }

    private sealed class Pair(End a, End b) : IDisposable
    {
        public End A => a;
        public End B => b;

        public static async Task<Pair> ConnectAsync(bool encrypted)
        {
            var (a, b) = await ConnectionsAsync(encrypted);
            return new Pair(new End("a", a), new End("b", b));
        }

        public static async Task<(LinkConnection A, LinkConnection B)> ConnectionsAsync(bool encrypted)
        {
            using var listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
            listener.Listen(1);
            var dialled = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            await LinkConnection.ConnectAsync(dialled, listener.LocalEndPoint!, CancellationToken.None);
            var accepted = await listener.AcceptAsync();
            if (!encrypted)
                return (LinkConnection.Plain(dialled), LinkConnection.Plain(accepted));
            using var authority = new TestAuthority();
            using var hostA = authority.Host("c1/a");
            using var hostB = authority.Host("c1/b");
            var (tlsA, tlsB) = (new HostTls(hostA), new HostTls(hostB));
            var accepting = LinkConnection.SecureAsync(new LinkTransport(accepted), tlsB.AcceptLinkAsync, CancellationToken.None).AsTask();
            var (a, _) = await LinkConnection.SecureAsync(
                new LinkTransport(dialled), (transport, cancel) => tlsA.DialLinkAsync(transport, "c1/b", cancel), CancellationToken.None);
            var (b, _) = await accepting.WaitAsync(Deadline);
            return (a, b);
        }

        public void Start()
        {
            foreach (var end in new[] { a, b })
            {
                end.Loop.Start();
                end.Loop.Post(() => end.Loop.Add(end.Channel));
            }
        }

        public void Dispose()
        {
            a.Dispose();
            b.Dispose();
        }
    }
}
