using System.Collections.Immutable;
using System.Globalization;
using Pollux.DataPlane.Replication;
using Pollux.DataPlane.Telemetry;
using Pollux.HostProtocol;

namespace Pollux.DataPlane.Modules;

/// <summary>The verifies of one module on this host: begins what is ordered, once for each operation id, and keeps the newest outcome.</summary>
/// <remarks>Orders are carried out one after the other, on no thread that anything else waits for; ends come from the engine's loop. The lock guards the
/// outcome in memory, and is not held while it is stored.</remarks>
internal sealed class ModuleVerify
{
    private readonly string _module;
    private readonly IReplicationEngine _engine;
    private readonly IVerifyStore? _store;
    private readonly Action<string, string> _note;
    private readonly SemaphoreSlim _one = new(1, 1);
    private readonly Lock _lock = new();
    private readonly Lock _storing = new();
    private ObservedVerify? _newest;
    private VerifyOrder? _wish;

    /// <param name="note">An event for the module's history: kind and text.</param>
    public ModuleVerify(string module, IReplicationEngine engine, IVerifyStore? store, Action<string, string> note)
    {
        (_module, _engine, _store, _note) = (module, engine, store, note);
        _newest = store?.Load();
        if (_newest is not { State: ObservedVerify.Running } interrupted)
            return;
        _newest = interrupted with { State = ObservedVerify.Failed, EndedUnixMs = Now, Reason = "pollux-host ended before the verify did" };
        Store(_newest);
    }

    private static long Now => DateTimeOffset.UtcNow.ToUnixTimeMilliseconds();

    /// <summary>Level-triggered: the same order may come any number of times.</summary>
    public void Wish(VerifyOrder order)
    {
        lock (_lock)
        {
            if (order == _wish)
                return;
            _wish = order;
        }
        _ = Task.Run(() => DoAsync(order)).ContinueWith(
            failed => HostLog.Error("modules", "an order to verify failed", ("module", _module), ("reason", failed.Exception?.ToString())),
            CancellationToken.None, TaskContinuationOptions.OnlyOnFaulted, TaskScheduler.Default);
    }

    /// <returns>Null, or why it was not done.</returns>
    public async Task<string?> DoAsync(VerifyOrder order)
    {
        await _one.WaitAsync().ConfigureAwait(false);
        try
        {
            if (Newest is { } known && known.OperationId == order.OperationId)
            {
                Change(known, order);
                return null;
            }
            return order.Stop ? "no such verify runs on this host" : await BeginAsync(order).ConfigureAwait(false);
        }
        finally
        {
            _one.Release();
        }
    }

    /// <summary>Ends whatever verify runs.</summary>
    /// <returns>Null, or why not.</returns>
    public string? Stop()
    {
        if (Newest is not { State: ObservedVerify.Running })
            return "no verify runs on this host";
        _engine.StopVerify();
        return null;
    }

    public void Ended(VerifyReport report)
    {
        ObservedVerify ended;
        lock (_lock)
        {
            if (_newest is not { State: ObservedVerify.Running } running)
                return;
            _newest = ended = With(running, report) with { EndedUnixMs = Now };
        }
        Store(ended);
        _note("verify.ended", Describe(ended));
    }

    /// <summary>A resync has ended well: the trees are equal.</summary>
    public void Resynced()
    {
        ObservedVerify repaired;
        lock (_lock)
        {
            if (_newest is not { ResyncFollows: true } waiting)
                return;
            _newest = repaired = waiting with { ResyncFollows = false, Repaired = true, RepairedBytes = waiting.DifferentBytes };
        }
        Store(repaired);
        _note("verify.repaired", "A resync has made the copies equal.");
    }

    /// <param name="report">Of the engine, now.</param>
    public ObservedVerify? Observe(VerifyReport? report) =>
        Newest is { State: ObservedVerify.Running } running && report is { Status.Running: true } ? With(running, report) : Newest;

    public static IEnumerable<ObservedProblem> Problems(string module, ObservedVerify? verify)
    {
        if (verify is null or { Repaired: true } or { ResyncFollows: true })
            yield break;
        if (verify.DifferentBytes > 0 || verify.DifferentEntries > 0)
        {
            yield return new ObservedProblem("verify.copies-differ", "The copies differ",
                "If the primary is lost now, the module goes on with other content.",
                Describe(verify),
                $"Look for the reason first: a disk, the memory, somebody who wrote below the mount. Then make the secondary equal to the primary: pollux module verify {module} --repair. If the primary's copy is the wrong one, swap before that.");
        }
        if (verify.State == ObservedVerify.Failed)
        {
            yield return new ObservedProblem("verify.unfinished", "A verify could not finish", "It is not known whether the copies are equal.",
                verify.Reason ?? "", $"When the module is mirrored (PRIM and SECOND), begin again: pollux module verify {module}.");
        }
    }

    private ObservedVerify? Newest
    {
        get
        {
            lock (_lock)
                return _newest;
        }
    }

    private void Change(ObservedVerify known, VerifyOrder order)
    {
        if (known.State != ObservedVerify.Running)
            return;
        if (order.Stop)
            _engine.StopVerify();
        else if (known.BytesPerSecondMax != order.BytesPerSecondMax)
            SetLimit(order.BytesPerSecondMax);
    }

    private void SetLimit(long bytesPerSecondMax)
    {
        _engine.SetVerifyLimit(bytesPerSecondMax == 0 ? long.MaxValue : bytesPerSecondMax);
        lock (_lock)
            _newest = _newest! with { BytesPerSecondMax = bytesPerSecondMax };
    }

    private async Task<string?> BeginAsync(VerifyOrder order)
    {
        var begun = new ObservedVerify(
            order.OperationId, ObservedVerify.Running, order.Repair, Now, null, null, order.BytesPerSecondMax, 0, 0, 0, 0, 0, 0, 0, 0, false, false, [], 0);
        var before = Newest;
        if (before is { State: ObservedVerify.Running })
            return "a verify runs already";
        // Known before it runs: it may end at once.
        lock (_lock)
            _newest = begun;
        Store(begun);
        string? refusal;
        try
        {
            refusal = await _engine.StartVerifyAsync(order.Repair, order.BytesPerSecondMax == 0 ? long.MaxValue : order.BytesPerSecondMax).ConfigureAwait(false);
        }
        catch (IOException e)
        {
            refusal = e.Message;
        }
        if (refusal is null)
        {
            _note("verify.started", order.Repair ? "Both copies are compared, and what differs is repaired." : "Both copies are compared.");
            return null;
        }
        // What differed before still does.
        var failed = (before is { } earlier && Problems(_module, earlier).Any(static problem => problem.Code == "verify.copies-differ") ? earlier : begun) with
        {
            OperationId = order.OperationId, State = ObservedVerify.Failed, EndedUnixMs = Now, Reason = refusal,
        };
        lock (_lock)
            _newest = failed;
        Store(failed);
        _note("verify.ended", Describe(failed));
        return refusal;
    }

    private void Store(ObservedVerify verify)
    {
        try
        {
            lock (_storing)
                _store?.Save(verify);
        }
        catch (IOException e)
        {
            HostLog.Warn("modules", "the outcome of a verify cannot be stored: a restart of this process forgets it", ("module", _module), ("reason", e.Message));
        }
    }

    private static ObservedVerify With(ObservedVerify verify, VerifyReport report)
    {
        var status = report.Status;
        var state = status switch
        {
            { Running: true } => ObservedVerify.Running,
            { End: VerifyStatus.Completed } => ObservedVerify.Completed,
            { End: VerifyStatus.Stopped } => ObservedVerify.Stopped,
            _ => ObservedVerify.Failed,
        };
        return verify with
        {
            State = state,
            Reason = state == ObservedVerify.Failed ? status.End : null,
            TotalBytes = status.TotalBytes, DoneBytes = status.DoneBytes, SkippedBytes = status.SkippedBytes,
            DifferentBytes = status.DifferentBytes, RepairedBytes = status.RepairedBytes,
            TotalEntries = status.TotalEntries, DoneEntries = status.DoneEntries, DifferentEntries = status.EntriesDifferent,
            ResyncFollows = status.ResyncFollows,
            Repaired = verify.Repair && state == ObservedVerify.Completed && !status.ResyncFollows && status.RepairedBytes == status.DifferentBytes
                && (status.DifferentBytes > 0 || status.EntriesDifferent > 0),
            Differences = [.. report.Findings.Take(ObservedVerify.DifferencesMax).Select(static finding =>
                new VerifyDifference(finding.Path.Length <= PathMax ? finding.Path : "…" + finding.Path[^PathMax..], finding.OffsetBytes, finding.LengthBytes, finding.What))],
            MoreDifferences = report.MoreFindings,
        };
    }

    /// <summary>Characters of a path in a report; its end tells more than its beginning.</summary>
    private const int PathMax = 200;

    private static string Describe(ObservedVerify verify)
    {
        var compared = string.Create(CultureInfo.InvariantCulture, $"{verify.DoneEntries} entries and {verify.DoneBytes} bytes of {verify.TotalBytes} compared");
        var found = verify is { DifferentBytes: 0, DifferentEntries: 0 } ? "no difference"
            : string.Create(CultureInfo.InvariantCulture, $"{verify.DifferentBytes} bytes and {verify.DifferentEntries} entries differ, first {Describe(verify.Differences)}")
                + (verify.Repaired ? "; repaired" : verify.ResyncFollows ? "; a resync follows" : "");
        var end = verify.State switch
        {
            ObservedVerify.Failed => $"The verify could not finish: {verify.Reason}. ",
            ObservedVerify.Stopped => "The verify was stopped. ",
            _ => "",
        };
        return $"{end}{compared}: {found}.";
    }

    private static string Describe(ImmutableArray<VerifyDifference> differences) =>
        differences is [var first, ..]
            ? first.OffsetBytes is { } offset ? string.Create(CultureInfo.InvariantCulture, $"{first.Path} at {offset}, {first.LengthBytes} bytes") : $"{first.Path} ({first.What})"
            : "none listed";
}
