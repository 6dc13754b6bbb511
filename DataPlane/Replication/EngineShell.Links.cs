using System.Net.Sockets;
using System.Runtime.InteropServices;
using Pollux.DataPlane.Loop;
using Pollux.DataPlane.Peers;

namespace Pollux.DataPlane.Replication;

// Connections to the peer.
internal abstract partial class EngineShell
{
    /// <summary>After the last frame: for sending it, and for the peer to close. Milliseconds.</summary>
    private const long LingerMs = 2_000;

    private readonly List<Link> _links = [];
    private readonly CancellationTokenSource _dials = new();
    private int _linkLast;

    public void Dial(int attempt) => _ = DialAsync(attempt);

    public int SendRoomBytes(int link) => Find(link) is { } found ? (int)Math.Min(found.Channel.SendRoomBytes, int.MaxValue) : 0;

    public void NameSession(int link, Guid session) => Find(link)?.Channel.Name(session);

    public void Send(int link, in FrameHeader header, ReadOnlySpan<byte> payload) => Find(link)?.Channel.Add(header, payload);

    public unsafe void Send(int link, in FrameHeader header, DataRef payload)
    {
        if (Find(link) is not { } found)
            return;
        if (payload.Buffer >= 0)
            found.Channel.Add(header, payload.Buffer, Place.Buffers.Payload(payload.Buffer) + payload.Offset, payload.Length);
        else
            found.Channel.Add(header, new ReadOnlySpan<byte>(Pointer(payload), payload.Length));
    }

    public void CloseLink(int link, string reason, bool afterSending)
    {
        if (Find(link) is not { } found)
            return;
        found.Closed = true;
        found.AfterSending = afterSending;
        found.Reason = reason;
    }

    protected abstract void Connected(int attempt, int link);

    /// <param name="refused">Nobody listens on the peer's machine.</param>
    protected abstract void DialFailed(int attempt, string reason, bool refused);

    protected abstract void FrameArrived(int link, in FrameHeader header, ReadOnlySpan<byte> payload, DataRef data);

    protected abstract void LinkEnded(int link, string reason);

    protected abstract void RoomFreed();

    /// <summary>A session can go on over another link now without anybody losing by it.</summary>
    protected virtual bool MayMoveLinks => false;

    /// <summary>Network of the newest link; 0: none, or the peer dialled. Any thread.</summary>
    public int Network { get; private set; }

    /// <summary>The machine takes arrived frames now.</summary>
    protected abstract bool WantsFrames { get; }

    /// <param name="greeted">The peer's first frame has been read already.</param>
    /// <returns>The link's number.</returns>
    protected int AddLink(LinkConnection connection, bool greeted)
    {
        var link = new Link(++_linkLast, connection.Network);
        link.Channel = new LinkChannel(connection, Place.Buffers, _ => Arrived(link), greeted);
        _links.Add(link);
        Network = link.Network;
        Place.Loop.Add(link.Channel);
        return link.Number;
    }

    /// <summary>Bytes that a machine named.</summary>
    protected unsafe byte* Pointer(in DataRef data)
    {
        if (data.Buffer >= 0)
            return Place.Buffers.Payload(data.Buffer) + data.Offset;
        foreach (var link in _links)
        {
            if (link.Number == -data.Buffer)
                return link.Channel.Received(data.Offset);
        }
        throw new InvalidOperationException($"The machine named bytes of link {-data.Buffer}, which is gone.");
    }

    private async Task DialAsync(int attempt)
    {
        LinkConnection? connection = null;
        var reason = "";
        var refused = false;
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(_dials.Token);
        deadline.CancelAfter(TimeSpan.FromMilliseconds(EngineOptions.HandshakeDeadlineMs));
        try
        {
            connection = await Options.Dial(deadline.Token).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            refused = e is SocketException { SocketErrorCode: SocketError.ConnectionRefused };
            reason = e is OperationCanceledException ? "the peer could not be reached in time" : $"the peer could not be reached: {e.Message}";
        }
        var posted = Place.Loop.Post(() =>
        {
            if (Stopping.IsCompleted)
                connection?.Transport.Dispose();
            else if (connection is null)
                DialFailed(attempt, reason, refused);
            else
                Connected(attempt, AddLink(connection, greeted: false));
        });
        if (!posted && connection is not null)
            await connection.DisposeAsync().ConfigureAwait(false);
    }

    private Link? Find(int number)
    {
        foreach (var link in _links)
        {
            if (link.Number == number && !link.Closed)
                return link;
        }
        return null;
    }

    private void Arrived(Link link)
    {
        if (!link.Channel.Receive())
            Lost(link);
    }

    /// <summary>Gives the machine the frames that it takes now. One that it does not take stays where it is.</summary>
    private bool FeedFrames()
    {
        var fed = false;
        for (var i = 0; i < _links.Count; i++)
        {
            var link = _links[i];
            // What the machine was given before has been executed: the received bytes may move.
            if (!link.Closed && link.Channel.MayHoldMore && WantsFrames && !link.Channel.HoldsFrame)
                fed |= link.Channel.Receive();
            while (!link.Closed && WantsFrames && link.Channel.TryNext(out var header, out var payload, out var offset))
            {
                fed = true;
                FrameArrived(link.Number, header, payload, new DataRef(-link.Number, offset, payload.Length));
            }
            Lost(link);
            link.Channel.WantsInput = link.Closed || WantsFrames || !link.Channel.HoldsFrame;
        }
        return fed;
    }

    private void SendAll()
    {
        for (var i = 0; i < _links.Count; i++)
        {
            var link = _links[i];
            if (link.Channel.Send() && link.WasShort)
            {
                link.WasShort = false;
                RoomFreed();
            }
            link.WasShort |= link.Channel.SendRoomBytes < SendQueue.BytesMax / 2;
            Lost(link);
        }
    }

    private void Lost(Link link)
    {
        if (link.Channel.EndReason is not { } reason || link.Closed)
            return;
        link.Closed = true;
        LinkEnded(link.Number, reason);
    }

    /// <summary>Ends what the machine has closed, after all that it had queued before was executed.</summary>
    private void CloseLinks()
    {
        for (var i = _links.Count - 1; i >= 0; i--)
        {
            var link = _links[i];
            if (!link.Closed)
                continue;
            if (link.AfterSending && link.Channel.EndReason is null)
            {
                if (link.LingersUntilMs == 0)
                {
                    link.LingersUntilMs = Environment.TickCount64 + LingerMs;
                    link.Channel.Part();
                }
                continue;
            }
            Remove(link, link.Reason);
        }
    }

    /// <summary>Ends a link whose network is silent while another is not, or a preferred one is back: the session goes on over that one.</summary>
    private void LeaveNetworks()
    {
        foreach (var link in _links)
        {
            if (link.Network == 0 || link.Closed || link.Channel.EndReason is not null)
                continue;
            switch (Options.JudgeNetwork(link.Network))
            {
                case NetworkVerdict.Leave:
                    link.Channel.End($"network {link.Network} to the peer is silent, another is not");
                    break;
                case NetworkVerdict.GoBack when MayMoveLinks:
                    link.Channel.End($"a network that is preferred to network {link.Network} works again");
                    break;
            }
        }
    }

    private void LingerLinks(long nowMs)
    {
        foreach (var link in _links)
        {
            if (link.LingersUntilMs != 0 && nowMs > link.LingersUntilMs)
                link.Channel.End(link.Reason);
        }
    }

    private void EndAllLinks()
    {
        _dials.Cancel();
        for (var i = _links.Count - 1; i >= 0; i--)
        {
            _links[i].Channel.Send();
            Remove(_links[i], "stopped");
        }
    }

    private void Remove(Link link, string reason)
    {
        link.Channel.End(reason);
        Place.Loop.Remove(link.Channel);
        _links.Remove(link);
        if (_links.Count == 0)
            Network = 0;
        link.Channel.Dispose();
    }

    private sealed class Link(int number, int network)
    {
        public int Number => number;

        /// <summary>See <see cref="LinkConnection.Network"/>.</summary>
        public int Network => network;
        public LinkChannel Channel { get; set; } = null!;
        public bool Closed { get; set; }
        public bool AfterSending { get; set; }
        public string Reason { get; set; } = "closed";
        public long LingersUntilMs { get; set; }

        /// <summary>The machine may wait for room.</summary>
        public bool WasShort { get; set; }
    }
}
