namespace Pollux.Tests.Unit.Replication;

/// <summary>One connection between two fake hosts: sealed frames in order, each direction with its chain.</summary>
internal sealed class MachineLink(MachineHost dialler, MachineHost listener)
{
    private static int s_last;

    private readonly Direction _out = new();
    private readonly Direction _back = new();
    private readonly int _number = Interlocked.Add(ref s_last, 2);
    private bool _accepted;

    public string? EndReason { get; private set; }

    /// <summary>Each side has its own numbers.</summary>
    public int NumberAt(MachineHost host) => host == dialler ? _number : _number + 1;

    public int Unread(MachineHost sender) => From(sender).Frames.Sum(static frame => frame.Length);

    public bool Drained(MachineHost receiver) => From(receiver.Peer).Frames.Count == 0;

    public void Name(MachineHost host, Guid session)
    {
        From(host).Sender.Name(session);
        From(host.Peer).Receiver.Name(session);
    }

    public void Send(MachineHost sender, in FrameHeader header, ReadOnlySpan<byte> payload)
    {
        if (EndReason is not null)
            return;
        var frame = new byte[FrameHeader.SizeBytes + payload.Length];
        payload.CopyTo(frame.AsSpan(FrameHeader.SizeBytes));
        header.Seal(frame, From(sender).Sender.Next());
        From(sender).Frames.Enqueue(frame);
        if (_accepted || header.Kind != FrameKind.Hello)
            return;
        // What the listener does: it reads the greeting before the machine sees the link.
        _accepted = true;
        Assert.True(TryReceive(listener, out _, out var greeting));
        listener.Accept(this, Hello.Read(greeting, out _)!);
    }

    public bool TryReceive(MachineHost receiver, out FrameHeader header, out byte[] payload)
    {
        (header, payload) = (default, []);
        var direction = From(receiver.Peer);
        if (!direction.Frames.TryDequeue(out var frame))
            return false;
        Assert.Equal(FrameDecode.Frame, FrameHeader.TryDecode(frame, direction.Receiver.Expected, out header, out var body));
        _ = direction.Receiver.Next();
        payload = body.ToArray();
        return true;
    }

    public void Break(string reason) => EndReason ??= reason;

    private Direction From(MachineHost sender) => sender == dialler ? _out : _back;

    private sealed class Direction
    {
        public FrameChain Sender;
        public FrameChain Receiver;

        public Queue<byte[]> Frames { get; } = new();
    }
}
