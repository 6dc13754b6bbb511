namespace Pollux.DataPlane.Replication;

/// <summary>Keeps a replication session with the peer for as long as it is attached: dials, runs the session, dials again after a bounded,
/// jittered pause.</summary>
/// <remarks>
/// A session that ends while the peer may be a member is not replaced: operations are held until the record says what the peer is
/// (rule S4), and a new attachment follows. An in-sync session that was never up may be tried again: nothing was sent.
/// </remarks>
internal sealed class PeerAttachment(ReplicationOptions options, ServingVolume volume, bool inSync)
{
    private static readonly TimeSpan PauseMin = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan PauseMax = TimeSpan.FromSeconds(5);

    private readonly CancellationTokenSource _detached = new();
    private readonly Lock _lock = new();
    private SourceSession? _session;
    private bool _lossReported;

    public bool InSync => inSync;

    /// <summary>It dials no more.</summary>
    public bool Ended { get; private set; }

    /// <summary>Completes when nothing of it runs.</summary>
    public Task Ending { get; private set; } = Task.CompletedTask;

    public SourceSession? Session
    {
        get
        {
            lock (_lock)
                return _session;
        }
    }

    public void Start() => Ending = Task.Run(RunAsync);

    public void Detach(string reason)
    {
        _detached.Cancel();
        Session?.Link.End(reason);
    }

    private async Task RunAsync()
    {
        var attachedMs = Environment.TickCount64;
        var pause = PauseMin;
        while (!_detached.IsCancellationRequested)
        {
            var triedMs = Environment.TickCount64;
            var (session, reason) = await TryAsync().ConfigureAwait(false);
            if (_detached.IsCancellationRequested)
                break;
            var held = session?.PeerHolds ?? volume.NotReached(reason);
            var wasUp = session is { WasUp: true };
            // A peer that comes up and fails again, with its disk full say, is not dialled any faster for it.
            if (wasUp && Environment.TickCount64 - triedMs > PauseMax.TotalMilliseconds)
                pause = PauseMin;
            // The peer of a handover may need a moment until it follows: that is no loss yet.
            var hopeful = inSync && !wasUp && session?.Refused is null or { Passing: true } && Environment.TickCount64 - attachedMs < options.Timings.DegradeAfterMs;
            if (wasUp || (!_lossReported && !hopeful))
            {
                _lossReported = true;
                options.Events.SessionLost(reason);
            }
            if (held && wasUp)
                break;
            try
            {
                await Task.Delay(pause * (0.75 + (Random.Shared.NextDouble() / 2)), _detached.Token).ConfigureAwait(false);
            }
            catch (OperationCanceledException)
            {
                break;
            }
            pause = pause * 2 < PauseMax ? pause * 2 : PauseMax;
        }
        Ended = true;
    }

    private async Task<(SourceSession? Session, string Reason)> TryAsync()
    {
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(_detached.Token);
        deadline.CancelAfter(options.HandshakeDeadline);
        Stream stream;
        try
        {
            stream = await options.Dial(deadline.Token).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            return (null, e is OperationCanceledException ? "the peer could not be reached in time" : $"the peer could not be reached: {e.Message}");
        }
        var session = new SourceSession(options, volume, stream, inSync);
        lock (_lock)
            _session = session;
        if (_detached.IsCancellationRequested)
            session.Link.End("detached");
        var reason = await Task.Factory.StartNew(session.Run, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default).ConfigureAwait(false);
        lock (_lock)
            _session = null;
        return (session, reason);
    }
}
