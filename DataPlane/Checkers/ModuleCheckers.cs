using System.Collections.Immutable;
using Pollux.DataPlane.Core.Checkers;
using Pollux.DataPlane.Core.Roles;
using Pollux.DataPlane.Telemetry;
using Pollux.HostProtocol;

namespace Pollux.DataPlane.Checkers;

/// <summary>The checkers of one module on one host: a task for each makes its tests, one at a time; the lock owns what they know.</summary>
/// <remarks>Tests are made only while the VM answers for itself: it runs on this host, its writes do not wait for the peer, it has a lease, and nobody
/// has paused it. Whatever else it is, is not the guest's fault. What follows from a failure the role machine decides.</remarks>
internal sealed class ModuleCheckers : IAsyncDisposable
{
    /// <summary>How often a checker looks whether a VM that somebody has paused goes on, milliseconds.</summary>
    private const int HeldLookMs = 500;

    private const string NotHere = "The VM does not run on this host.";

    /// <summary>The codes of a VM that runs and whose writes are acknowledged.</summary>
    private static readonly ImmutableHashSet<string> Answering =
        [RoleCodes.Prim.Code, RoleCodes.Alone.Code, RoleCodes.Joining.Code, RoleCodes.PeerLeft.Code];

    private readonly Lock _gate = new();
    private readonly List<Entry> _entries = [];
    private readonly List<Task> _ending = [];
    private readonly string _module;
    private readonly IProbe _probe;
    private readonly Func<bool> _isHeld;
    private readonly Action<RoleInput.Unwell> _unwell;
    private readonly Action<string, string> _note;
    private readonly Func<long> _nowMs;
    private ImmutableArray<CheckerMessage> _wanted = [];
    private bool _off;
    private bool _runs;
    private bool _ended = true;
    private string _rests = NotHere;
    private bool _closed;

    /// <param name="isHeld">The VM is paused by somebody beside Pollux, or by its hypervisor.</param>
    /// <param name="note">Kind and text, for the history; operators are told.</param>
    public ModuleCheckers(
        string module, IProbe probe, Func<bool> isHeld, Action<RoleInput.Unwell> unwell, Action<string, string> note, Func<long> nowMs)
    {
        (_module, _probe, _isHeld, _unwell, _note, _nowMs) = (module, probe, isHeld, unwell, note, nowMs);
        CheckerMetrics.Add(module, Read);
    }

    /// <summary>Level-triggered: those that are as before go on.</summary>
    public void Set(ImmutableArray<CheckerMessage> wanted)
    {
        lock (_gate)
        {
            if (_closed || wanted.AsSpan().SequenceEqual(_wanted.AsSpan()))
                return;
            _wanted = wanted;
            foreach (var gone in _entries.Where(entry => !wanted.Contains(entry.Wanted)).ToArray())
            {
                _entries.Remove(gone);
                End(gone);
            }

            foreach (var added in wanted.Where(message => _entries.TrueForAll(entry => entry.Wanted != message)).Take(Math.Max(0, CheckerSpec.CountMax - _entries.Count)))
                _entries.Add(Begin(added));
        }
    }

    /// <summary>After each step of the role machine.</summary>
    public void Follow(RoleView view)
    {
        var ended = view.Role is not (Role.Prim or Role.Alone) || !view.WorkloadRuns || view.Code == RoleCodes.WorkloadStarting.Code;
        var runs = !ended && Answering.Contains(view.Code);
        var rests = runs ? "" : ended ? NotHere : $"The VM waits, and that is not its fault: {RoleCodes.Find(view.Code)?.Title ?? view.Code}.";
        lock (_gate)
        {
            if ((view.Policy.ChecksOff, runs, ended, rests) == (_off, _runs, _ended, _rests))
                return;
            (_off, _runs, _ended, _rests) = (view.Policy.ChecksOff, runs, ended, rests);
            foreach (var entry in _entries)
                Apply(entry);
        }
    }

    public void Answered(RoleEffect.CheckAnswered answered, string? traceId)
    {
        var text = $"{answered.Checker}, {Word(answered.Action)}: {answered.Text}";
        lock (_gate)
        {
            // The same again, each time that it is asked, is no news.
            if (_entries.Find(entry => entry.Wanted.Name == answered.Checker) is { } entry)
            {
                if (answered.Answer == CheckAnswer.Noted && entry.Said == text)
                    return;
                (entry.Said, entry.Next) = (text, Tell(answered));
            }
        }

        _note($"checker.{Word(answered.Answer)}", traceId is null ? text : $"{text} [{traceId}]");
    }

    public ImmutableArray<ObservedChecker> Observe()
    {
        lock (_gate)
            return [.. _entries.Select(Observe)];
    }

    public ImmutableArray<ObservedProblem> Problems()
    {
        lock (_gate)
        {
            return [.. _entries.Select(Observe).Where(static checker => checker.State is "unwell" or "unable").Select(checker => checker.State == "unwell"
                ? new ObservedProblem("checker.unwell", $"The checker {checker.Name} fails", "The VM runs and does not do its work.",
                    $"{checker.FailuresInRow} failures in a row: {checker.Reason}", checker.Next)
                : new ObservedProblem("checker.unable", $"The checker {checker.Name} cannot test", "Whether the VM does its work is not known; nothing follows from it.",
                    checker.Reason, $"Mend it on this host, or remove it: pollux module checker remove {_module} {checker.Name}."))];
        }
    }

    public async ValueTask DisposeAsync()
    {
        Task[] ending;
        lock (_gate)
        {
            _closed = true;
            _entries.ForEach(End);
            _entries.Clear();
            ending = [.. _ending];
        }

        CheckerMetrics.Remove(_module);
        await Task.WhenAll(ending).ConfigureAwait(false);
    }

    private Entry Begin(CheckerMessage wanted)
    {
        var spec = CheckerSpec.Read(wanted.Name, wanted.Kind, wanted.Target, wanted.EveryMs, wanted.TimeoutMs, wanted.Failures, wanted.GraceMs, wanted.Then, out var why);
        var entry = new Entry(wanted, spec is null ? null : new CheckerCourse(spec, _nowMs()), why, _nowMs());
        Apply(entry);
        if (entry.Course is { } course)
            entry.Task = Task.Run(() => TestAsync(entry, course));
        return entry;
    }

    private void End(Entry entry)
    {
        entry.Stop.Cancel();
        _ending.RemoveAll(static task => task.IsCompletedSuccessfully);
        _ending.Add(entry.Task);
    }

    private void Apply(Entry entry)
    {
        if (entry.Course is not { } course)
            return;
        if (_off || !_runs)
            course.Rest(_nowMs(), _off ? "" : _rests, _ended);
        else
            course.Run(_nowMs());
        entry.Next = null;
        if (entry.Wake.CurrentCount == 0)
            entry.Wake.Release();
    }

    private async Task TestAsync(Entry entry, CheckerCourse course)
    {
        var cancel = entry.Stop.Token;
        try
        {
            while (true)
            {
                long? dueMs;
                long round;
                lock (_gate)
                    (dueMs, round) = (course.DueMs, course.Round);
                var waitMs = dueMs is { } due ? Math.Max(0, due - _nowMs()) : Timeout.Infinite;
                if (waitMs != 0)
                {
                    await entry.Wake.WaitAsync(TimeSpan.FromMilliseconds(waitMs), cancel).ConfigureAwait(false);
                    continue;
                }

                if (_isHeld())
                {
                    await Task.Delay(HeldLookMs, cancel).ConfigureAwait(false);
                    continue;
                }

                var result = await TestOnceAsync(course.Spec, cancel).ConfigureAwait(false);
                if (!_isHeld()) // Paused during the test: its result says nothing.
                    Take(entry, course, round, result);
            }
        }
        catch (OperationCanceledException) when (cancel.IsCancellationRequested)
        {
            // Removed, or the module is closed.
        }
    }

    private async Task<CheckResult> TestOnceAsync(CheckerSpec spec, CancellationToken cancel)
    {
        try
        {
            return await _probe.TestAsync(spec, cancel).ConfigureAwait(false);
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            // Shown as a problem with its reason. A defect of a test is no reason to end the process that serves the VM's disks.
            HostLog.Warn("checkers", "a test could not be made", ("module", _module), ("checker", spec.Name), ("reason", e.ToString()));
            return CheckResult.Unable($"The test could not be made: {e.Message}");
        }
    }

    private void Take(Entry entry, CheckerCourse course, long round, CheckResult result)
    {
        CheckerView view;
        RoleInput.Unwell? unwell;
        bool isNews;
        lock (_gate)
        {
            unwell = course.Take(_nowMs(), round, result);
            view = course.View;
            // A single failure is none: a checker that comes and goes would fill the history.
            isNews = (view.State is CheckerState.Well or CheckerState.Unwell or CheckerState.Unable) && view.State != entry.Noted;
            if (isNews)
                entry.Noted = view.State;
            if (view.State == CheckerState.Well)
                (entry.Next, entry.Said) = (null, null);
        }

        if (isNews)
            _note($"checker.{Word(view.State)}", view.Reason.Length > 0 ? $"{course.Spec.Name}: {view.Reason}" : course.Spec.Name);
        if (unwell is not null)
            _unwell(unwell);
    }

    private ObservedChecker Observe(Entry entry)
    {
        if (entry.Course is not { } course)
            return new ObservedChecker(entry.Wanted.Name, "unable", Wall(entry.SinceMs), 0, entry.WhyNot, "Nothing: this host does not test it.");
        var view = course.View;
        return new ObservedChecker(entry.Wanted.Name, _off ? "off" : Word(view.State), Wall(view.SinceMs), view.FailuresInRow, view.Reason, Next(entry, course));
    }

    private string Next(Entry entry, CheckerCourse course)
    {
        if (_off)
            return $"Nothing: checkers are switched off. To test again: pollux module policy {_module} --checkers on.";
        var then = course.Spec.Then == CheckAction.Restart ? "the VM is restarted" : "the module moves to the peer";
        var left = course.Spec.Failures - course.View.FailuresInRow % course.Spec.Failures;
        return course.View.State switch
        {
            CheckerState.Resting => "It is tested when the VM runs on this host.",
            CheckerState.Grace => $"Failures count from {Math.Max(0, (course.GraceUntilMs - _nowMs() + 999) / 1_000)} s on.",
            CheckerState.Unwell when entry.Next is { } said => $"{said} It is asked for again after {left} more failures.",
            CheckerState.Unwell => "It is asked for now.",
            CheckerState.Unable => "Nothing follows while it cannot be tested.",
            _ => $"After {left} {(course.View.State == CheckerState.Failing ? "more failures" : "failures in a row")} {then}.",
        };
    }

    private static string Tell(RoleEffect.CheckAnswered answered) => answered.Answer switch
    {
        CheckAnswer.Noted => $"Nothing is done: {answered.Text}",
        CheckAnswer.Begun => "The " + (answered.Action == CheckAction.Restart ? "restart" : "move") + " is under way.",
        CheckAnswer.Done => "The " + (answered.Action == CheckAction.Restart ? "restart" : "move") + " is done.",
        _ => $"It was given up: {answered.Text}",
    };

    private IEnumerable<(string Checker, bool IsWell, int FailuresInRow)> Read()
    {
        lock (_gate)
        {
            return [.. _entries.Where(entry => !_off && entry.Course is { View.State: CheckerState.Well or CheckerState.Failing or CheckerState.Unwell })
                .Select(entry => (entry.Wanted.Name, entry.Course!.View.State == CheckerState.Well, entry.Course.View.FailuresInRow))];
        }
    }

    private static long Wall(long bootMs) => BootClock.ToWall(bootMs).ToUnixTimeMilliseconds();

    private static string Word<T>(T value)
        where T : struct, Enum => value.ToString().ToLowerInvariant();

    private sealed class Entry(CheckerMessage wanted, CheckerCourse? course, string whyNot, long sinceMs)
    {
        public CheckerMessage Wanted => wanted;

        /// <summary>Null: this version cannot test it.</summary>
        public CheckerCourse? Course => course;

        public string WhyNot => whyNot;

        public long SinceMs => sinceMs;

        public CancellationTokenSource Stop { get; } = new();

        public SemaphoreSlim Wake { get; } = new(0, 1);

        public Task Task { get; set; } = Task.CompletedTask;

        /// <summary>The state that the history was told last.</summary>
        public CheckerState? Noted { get; set; }

        /// <summary>What the role machine made of the newest failure; null: nothing yet.</summary>
        public string? Next { get; set; }

        /// <summary>What the history was told last of that.</summary>
        public string? Said { get; set; }
    }
}
