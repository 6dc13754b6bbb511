using Pollux.DataPlane.Core.Replication;

namespace Pollux.Tests.Simulation.Model;

// Connections: bytes in and out, frames by the production codec.
internal sealed partial class SimEngine : ISimLinkUser
{
    private readonly SortedDictionary<int, Wire> wires = [];
    private int wiresMade;

    private sealed class Wire(int number, SimLinkEnd end)
    {
        private byte[] received = [];
        private int taken;
        private FrameChain sent;
        private FrameChain arrived;

        public int Number => number;

        public SimLinkEnd End => end;

        /// <summary>A replica's: its greeting was given to the machine.</summary>
        public bool Greeted { get; set; }

        public int QueuedThisTurnBytes { get; set; }

        public bool HoldsFrame => FrameHeader.HoldsFrame(received.AsSpan(taken));

        public void Name(Guid session)
        {
            sent.Name(session);
            arrived.Name(session);
        }

        public void Send(in FrameHeader header, ReadOnlySpan<byte> payload)
        {
            var frame = new byte[FrameHeader.SizeBytes + payload.Length];
            payload.CopyTo(frame.AsSpan(FrameHeader.SizeBytes));
            header.Seal(frame, sent.Next());
            end.Send(frame);
        }

        /// <summary>The highest sequence that counts as applied without having been; see <see cref="Sabotage"/>.</summary>
        public ulong Forged { get; set; }

        /// <param name="unchecked">Takes what has any checksum.</param>
        public FrameDecode TryTake(bool @unchecked, out FrameHeader header, out ReadOnlySpan<byte> payload)
        {
            if (@unchecked && HoldsFrame && received.Length - taken >= FrameHeader.SizeBytes && BitConverter.ToInt32(received, taken + 4) is >= 0 and var length)
                Reseal(received.AsSpan(taken, FrameHeader.SizeBytes + length), arrived.Expected);
            var found = FrameHeader.TryDecode(received.AsSpan(taken), arrived.Expected, out header, out payload);
            if (found != FrameDecode.Frame)
                return found;
            arrived.Next();
            taken += FrameHeader.SizeBytes + payload.Length;
            return found;
        }

        private static void Reseal(Span<byte> frame, uint place) => new FrameHeader(
            (FrameKind)frame[8], (FrameFlags)frame[9], frame.Length - FrameHeader.SizeBytes, BitConverter.ToInt64(frame[16..]), BitConverter.ToUInt64(frame[24..]),
            BitConverter.ToUInt64(frame[32..]), BitConverter.ToInt64(frame[40..])).Seal(frame, place);

        /// <summary>Never in place: a machine may be looking at a payload.</summary>
        public void Append(ReadOnlySpan<byte> bytes) => (received, taken) = ([.. received.AsSpan(taken), .. bytes], 0);
    }

    void IPeerLink.Dial(int attempt) => effects.Add(() => After(machines, world.Random.Between(1, 40), () =>
    {
        var reached = world.Carries(host) && world.Carries(host.Peer);
        if (reached && host.Peer is { Running: true, Engine: { } peer })
        {
            var link = new SimLink(world, host, this, host.Peer, peer);
            peer.Accept(link.Listener);
            var wire = Add(link.Dialler);
            wire.Greeted = true;
            Turn(() => source!.Connected(attempt, wire.Number));
            return;
        }

        After(machines, reached ? 1 : world.Random.Between(100, 900), () => Turn(() => source!.DialFailed(attempt, reached ? "refused" : "unreachable", refused: reached)));
    }));

    /// <summary>Connections end; both processes live.</summary>
    public void BreakLinks()
    {
        foreach (var wire in wires.Values.ToList())
            wire.End.Break("reset");
    }

    int IPeerLink.SendRoomBytes(int link) =>
        wires.TryGetValue(link, out var wire) ? Math.Max(wire.End.RoomBytes - wire.QueuedThisTurnBytes, 0) : 0;

    void IPeerLink.Send(int link, in FrameHeader header, ReadOnlySpan<byte> payload)
    {
        if (!wires.TryGetValue(link, out var wire))
            return;
        var head = header.Kind == FrameKind.HelloAnswer && header.Sequence > 0 && world.Sabotage == Sabotage.ResumedSkipsAFrame
            ? header with { Sequence = header.Sequence + 1 }
            : header;
        var copy = payload.ToArray();
        wire.QueuedThisTurnBytes += FrameHeader.SizeBytes + copy.Length;
        effects.Add(() => Send(wire, head, copy));
        Forge(wire, head);
    }

    void IPeerLink.Send(int link, in FrameHeader header, DataRef payload)
    {
        if (!wires.TryGetValue(link, out var wire))
            return;
        var head = header;
        wire.QueuedThisTurnBytes += FrameHeader.SizeBytes + payload.Length;
        Pend(payload, 1);
        effects.Add(() =>
        {
            // A write whose frame is lost on purpose leaves an empty one, so that the sequence goes on.
            var lost = world.Sabotage == Sabotage.ResyncMissesGuestWrites && head.Kind == FrameKind.Write && !HoldsForPeer;
            if (lost)
                Send(wire, head with { PayloadBytes = 0 }, default);
            else
                Send(wire, head, BytesOf(payload));
            Pend(payload, -1);
        });
        Forge(wire, head);
    }

    /// <summary>See <see cref="Sabotage.AcknowledgeBeforePeer"/>.</summary>
    private void Forge(Wire wire, FrameHeader sent)
    {
        if (world.Sabotage != Sabotage.AcknowledgeBeforePeer || source is null || sent.Sequence == 0)
            return;
        effects.Add(() => After(machines, 0, () =>
        {
            if (!wires.ContainsKey(wire.Number) || wire.Forged >= sent.Sequence)
                return;
            wire.Forged = sent.Sequence;
            Turn(() => source?.FrameArrived(wire.Number, new FrameHeader(FrameKind.Ack, FrameFlags.None, 0, sent.Epoch, sent.Sequence, 0, 0), default));
        }));
    }

    void IPeerLink.NameSession(int link, Guid session) => effects.Add(() =>
    {
        if (wires.TryGetValue(link, out var wire))
            wire.Name(session);
    });

    private void Send(Wire wire, in FrameHeader header, ReadOnlySpan<byte> payload)
    {
        wire.QueuedThisTurnBytes = 0;
        if (wires.ContainsKey(wire.Number))
            wire.Send(header, payload);
    }

    void IPeerLink.CloseLink(int link, string reason, bool afterSending) => effects.Add(() =>
    {
        if (!wires.TryGetValue(link, out var wire))
            return;
        wires.Remove(link);
        if (afterSending)
            wire.End.CloseAfterSending(reason);
        else
            wire.End.Break(reason);
    });

    /// <summary>The listener's side of the process; the machine hears of it with the greeting.</summary>
    private void Accept(SimLinkEnd end) => Add(end);

    private Wire Add(SimLinkEnd end)
    {
        var wire = new Wire(++wiresMade, end);
        wires.Add(wire.Number, wire);
        return wire;
    }

    private void Drop(Wire wire, string why)
    {
        wires.Remove(wire.Number);
        wire.End.Break(why);
    }

    private Wire? WireOf(SimLinkEnd end) => wires.Values.FirstOrDefault(wire => wire.End == end);

    void ISimLinkUser.Received(SimLinkEnd end, ReadOnlySpan<byte> bytes)
    {
        if (WireOf(end) is not { } wire)
            return;
        world.EngineStep(host);
        if (!host.Running || !wires.ContainsKey(wire.Number))
            return;
        wire.Append(bytes);
        Feed(wire);
    }

    void ISimLinkUser.RoomFreed(SimLinkEnd end)
    {
        if (WireOf(end) is not null)
            Turn(() =>
            {
                source?.RoomFreed();
                replica?.RoomFreed();
            });
    }

    void ISimLinkUser.Closed(SimLinkEnd end, string why)
    {
        if (WireOf(end) is not { } wire)
            return;
        wires.Remove(wire.Number);
        if (wire.Greeted)
            Ended(wire, why);
    }

    private void Ended(Wire wire, string why) => Turn(() =>
    {
        source?.LinkEnded(wire.Number, why);
        replica?.LinkEnded(wire.Number, why);
    });

    private void FeedWaitingFrames()
    {
        if (replica is not { WantsFrames: true })
            return;
        foreach (var wire in wires.Values.Where(wire => wire.HoldsFrame).ToList())
            After(machines, 0, () => Feed(wire));
    }

    /// <summary>All whole frames that are there are one turn, as far as the machine wants them.</summary>
    private void Feed(Wire wire)
    {
        if (!wire.Greeted && !Greet(wire))
            return;
        if (source is null && replica is null)
        {
            Drop(wire, "nobody is here");
            return;
        }

        string? breach = null;
        Turn(() =>
        {
            while (wires.ContainsKey(wire.Number) && breach is null && replica is null or { WantsFrames: true })
            {
                var found = wire.TryTake(world.Sabotage == Sabotage.ChecksumIgnored, out var header, out var payload);
                if (found == FrameDecode.Incomplete)
                    return;
                if (found != FrameDecode.Frame)
                {
                    breach = $"the peer sent bytes that are no frame ({found})";
                    return;
                }

                if (header.Kind == FrameKind.Ack && wire.Forged > header.Sequence)
                    header = header with { Sequence = wire.Forged };
                if (header.Kind == FrameKind.MarksChunk && world.Sabotage == Sabotage.MarksNotUnited)
                    continue;
                source?.FrameArrived(wire.Number, header, payload);
                if (replica is null)
                    continue;
                var data = NewBuffer(payload.ToArray());
                Pend(data, 1);
                replica.FrameArrived(wire.Number, header, payload, data);
                Pend(data, -1);
                if (buffers[data.Buffer].Pending == 0)
                    buffers.Remove(data.Buffer);
            }
        });
        if (breach is null || !wires.ContainsKey(wire.Number))
            return;
        Drop(wire, breach);
        Ended(wire, breach);
    }

    /// <summary>The listener reads the greeting itself, as it must know the module.</summary>
    /// <returns>Whether the machine may be fed what follows.</returns>
    private bool Greet(Wire wire)
    {
        var found = wire.TryTake(world.Sabotage == Sabotage.ChecksumIgnored, out var header, out var payload);
        if (found == FrameDecode.Incomplete)
            return false;
        if (found != FrameDecode.Frame || header.Kind != FrameKind.Hello || Hello.Read(payload, out _) is not { } hello)
        {
            Drop(wire, "no greeting");
            return false;
        }

        if (replica is null || stopping)
        {
            var text = new byte[256];
            var length = new Refusal(RefusalCode.NotFollowing, "this host does not follow now").Write(text);
            wire.Send(new FrameHeader(FrameKind.Refused, FrameFlags.None, length, 0, 0, 0, 0), text.AsSpan(0, length));
            wires.Remove(wire.Number);
            wire.End.CloseAfterSending("refused");
            return false;
        }

        wire.Greeted = true;
        if (hello.Mode == SessionMode.Resumed)
            world.Say(host.Name, "is asked to resume a session");
        targetIsOverwritten = hello.Mode == SessionMode.Resync;
        Turn(() => replica.Accepted(wire.Number, hello));
        return wires.ContainsKey(wire.Number);
    }
}
