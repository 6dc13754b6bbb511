using System.Net;
using System.Net.Sockets;
using Pollux.DataPlane.Core.Replication;
using Pollux.DataPlane.Replication;

namespace Pollux.Tests.Unit.Replication;

public class ListenerTests
{
    [Fact]
    public async Task A_greeting_for_a_module_that_is_not_here_is_refused_with_the_reason()
    {
        await using var listener = Listen();
        var refusal = await GreetAsync(listener, Hello());
        Assert.Equal(RefusalCode.UnknownModule, refusal.Code);
        Assert.Contains("nowhere", refusal.Text);
        Assert.True(refusal.Passing);
    }

    [Fact]
    public async Task A_greeting_of_another_protocol_version_is_refused_with_both_versions()
    {
        await using var listener = Listen();
        var frame = Hello();
        BitConverter.TryWriteBytes(frame.AsSpan(FrameHeader.SizeBytes), 99);
        new FrameHeader(FrameKind.Hello, FrameFlags.None, frame.Length - FrameHeader.SizeBytes, 1, 0, 0, 0).Seal(frame, default(FrameChain).Next());
        var refusal = await GreetAsync(listener, frame);
        Assert.Equal(RefusalCode.ProtocolVersion, refusal.Code);
        Assert.Contains("99", refusal.Text);
    }

    [Fact]
    public async Task A_first_frame_that_is_no_greeting_is_refused()
    {
        await using var listener = Listen();
        var frame = new byte[FrameHeader.SizeBytes];
        new FrameHeader(FrameKind.Ping, FrameFlags.None, 0, 1, 0, 0, 0).Seal(frame, default(FrameChain).Next());
        Assert.Equal(RefusalCode.Malformed, (await GreetAsync(listener, frame)).Code);
    }

    [Fact]
    public async Task Bytes_that_are_no_frame_end_the_connection()
    {
        await using var listener = Listen();
        using var client = new TcpClient();
        await client.ConnectAsync(listener.EndPoint);
        var noise = new byte[FrameHeader.SizeBytes];
        Array.Fill(noise, (byte)0xFF);
        await client.GetStream().WriteAsync(noise);
        var answer = new byte[4096];
        var count = await client.GetStream().ReadAtLeastAsync(answer, FrameHeader.SizeBytes, throwOnEndOfStream: false).AsTask().WaitAsync(ReplicationHost.Deadline);
        FrameHeader.TryDecode(answer.AsSpan(0, count), default(FrameChain).Expected, out var header, out _);
        Assert.Equal(FrameKind.Refused, header.Kind);
    }

    [Fact]
    public async Task A_connection_whose_greeting_ends_in_a_defect_of_this_host_is_closed()
    {
        var closed = new TaskCompletionSource();
        await using var listener = new ReplicationListener(
            new IPEndPoint(IPAddress.Loopback, 0),
            (transport, _) =>
            {
                transport.Interpose(inner => new ClosingLayer(inner, closed));
                return new ValueTask<string>("peer");
            },
            static _ => throw new InvalidOperationException("a defect"), TimeSpan.FromSeconds(3));
        using var client = new TcpClient();
        await client.ConnectAsync(listener.EndPoint);
        await client.GetStream().WriteAsync(Hello());
        await closed.Task.WaitAsync(ReplicationHost.Deadline);
        Assert.Equal(0, await client.GetStream().ReadAsync(new byte[1]).AsTask().WaitAsync(ReplicationHost.Deadline));
    }

    [Fact]
    public async Task Sockets_use_cubic_and_no_delay()
    {
        await using var listener = Listen();
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        await socket.ConnectAsync(listener.EndPoint);
        SocketTuning.Apply(socket, TimeSpan.FromSeconds(3));
        Assert.True(socket.NoDelay);
        if (File.ReadAllText("/proc/sys/net/ipv4/tcp_available_congestion_control").Contains("cubic"))
            Assert.Equal("cubic", SocketTuning.CongestionControl(socket));
    }

    private sealed class ClosingLayer(ILinkLayer inner, TaskCompletionSource closed) : FilterLayer(inner)
    {
        public override void Dispose()
        {
            base.Dispose();
            closed.TrySetResult();
        }
    }

    private static ReplicationListener Listen() => new(
        new IPEndPoint(IPAddress.Loopback, 0), static (_, _) => new ValueTask<string>("peer"), static _ => null, TimeSpan.FromSeconds(3));

    private static byte[] Hello()
    {
        var frame = new byte[1024];
        var length = new Hello("nowhere", Guid.NewGuid(), Guid.NewGuid(), 1, Guid.Empty, Guid.Empty, Guid.Empty, SessionMode.Resync).Write(frame.AsSpan(FrameHeader.SizeBytes));
        Array.Resize(ref frame, FrameHeader.SizeBytes + length);
        new FrameHeader(FrameKind.Hello, FrameFlags.None, length, 1, 0, 0, 0).Seal(frame, default(FrameChain).Next());
        return frame;
    }

    private static async Task<Refusal> GreetAsync(ReplicationListener listener, byte[] frame)
    {
        using var client = new TcpClient();
        await client.ConnectAsync(listener.EndPoint);
        await client.GetStream().WriteAsync(frame);
        var answer = new byte[FrameHeader.SizeBytes + 4096];
        var count = 0;
        while (true)
        {
            var got = await client.GetStream().ReadAsync(answer.AsMemory(count)).AsTask().WaitAsync(ReplicationHost.Deadline);
            count += got;
            if (FrameHeader.TryDecode(answer.AsSpan(0, count), default(FrameChain).Expected, out var header, out var payload) == FrameDecode.Frame)
            {
                Assert.Equal(FrameKind.Refused, header.Kind);
                return Refusal.Read(payload)!;
            }
            Assert.NotEqual(0, got);
        }
    }
}
