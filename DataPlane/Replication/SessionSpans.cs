using System.Diagnostics;

namespace Pollux.DataPlane.Replication;

/// <summary>Spans of what a source does with its peer: <c>replication.session</c> from its first frame to its end, and <c>replication.resync</c>,
/// one trace each, with its result and its bytes. Owned by the module's loop.</summary>
internal sealed class SessionSpans(string module)
{
    private Activity? _session;
    private Activity? _resync;

    public void SessionUp() => Restart(ref _session, "replication.session");

    public void ResyncStarting() => Restart(ref _resync, "replication.resync");

    public void PeerCaughtUp(in ResyncStatus status) => EndResync(status, "completed", null);

    public void Ended(string reason, in EngineStatus status)
    {
        EndResync(status.Resync, "interrupted", reason);
        _session?.SetTag("pollux.reason", reason).SetTag("pollux.sent.bytes", status.ReplicatedBytes);
        End(ref _session);
    }

    private void EndResync(in ResyncStatus status, string result, string? reason)
    {
        if (_resync is not { } span)
            return;
        span.SetTag("pollux.result", result).SetTag("pollux.reason", reason).SetTag("pollux.full", status.Full).SetTag("pollux.resumed", status.Resumed)
            .SetTag("pollux.total.bytes", status.TotalBytes).SetTag("pollux.done.bytes", status.DoneBytes).SetTag("pollux.skipped.bytes", status.SkippedBytes);
        if (reason is not null)
            span.SetStatus(ActivityStatusCode.Error, reason);
        End(ref _resync);
    }

    private void Restart(ref Activity? span, string name)
    {
        End(ref span);
        // The loop's thread does other things meanwhile, which are no children of this.
        var current = Activity.Current;
        span = ReplicationMetrics.Source.StartActivity(name, ActivityKind.Internal, parentContext: default)?.SetTag("pollux.module", module);
        Activity.Current = current;
    }

    private static void End(ref Activity? span)
    {
        var current = Activity.Current;
        span?.Dispose();
        span = null;
        Activity.Current = current;
    }
}
