using Pollux.Lab.Guest;
using Pollux.Lab.Machines;

namespace Pollux.Lab.Product;

/// <summary>
/// A mirror module whose VM writes records, with everything that judges it: the consoles of the guest on both hosts, the
/// observer of its processes, the copies on both disks. The judgement of every fault is <see cref="JudgeAsync"/>.
/// </summary>
public sealed class WritingModule : IAsyncDisposable
{
    public const int SlotsDefault = 4096;

    /// <summary>From the demand to the first record: libvirt, TCG boot of a small kernel, on cores that are shared.</summary>
    private static readonly TimeSpan BootMax = TimeSpan.FromSeconds(45);

    private static readonly TimeSpan InSyncMax = TimeSpan.FromSeconds(60);
    private const int StopsMax = 3;

    private readonly PolluxPair _pair;
    private readonly GuestDomain _guest;

    private WritingModule(PolluxPair pair, GuestDomain guest)
    {
        _pair = pair;
        _guest = guest;
        Serials = pair.Machines.Hosts.ToDictionary(host => host.Name, host => new SerialLog(host.Name, host.OnMachine(guest.SerialPath)));
        Observer = new ExecutionObserver(pair.Machines.Hosts, guest.Name);
    }

    public string Name => _guest.Name;

    /// <summary>cluster/module, as the CLI wants it.</summary>
    public string Key => $"{PolluxPair.Cluster}/{Name}";

    public string Folder => _guest.Folder;

    public IReadOnlyDictionary<string, SerialLog> Serials { get; }

    public ExecutionObserver Observer { get; }

    /// <summary>The highest record that any boot of the guest reported as flushed.</summary>
    public ulong AcknowledgedMax => Serials.Values.Max(serial => serial.AcknowledgedMax);

    /// <summary>Writes the VM's files on one host, creates the module and starts it there.</summary>
    /// <param name="delayUs">Pause of the guest between two records, µs.</param>
    public static async Task<WritingModule> CreateAsync(
        PolluxPair pair, string name, string primary, int slots = SlotsDefault, int delayUs = 2000, long diskBytes = 64L << 20)
    {
        var image = await GuestImage.BuildAsync();
        var guest = new GuestDomain(name, $"{LabHost.ModulesFolder}/{name}", slots, delayUs);
        await guest.WriteToAsync(pair.Machines[primary].OnMachine(guest.Folder), image, diskBytes);
        (await pair.CliAsync("module", "create", $"{PolluxPair.Cluster}/{name}", "--directory", guest.Folder, "--primary", primary, "--vm", name)).OrThrow();
        return new WritingModule(pair, guest);
    }

    public async Task StartAsync() => (await _pair.CliAsync("module", "start", Key, "--wait", "60s")).OrThrow();

    public async Task StopAsync()
    {
        (await _pair.CliAsync("module", "stop", Key, "--wait", "60s")).OrThrow();
        await WaitForAsync("the module is stopped on both hosts", TimeSpan.FromSeconds(30), status => status.IsStopped);
    }

    public async Task SwapAsync() => (await _pair.CliAsync("module", "swap", Key, "--wait", "60s")).OrThrow();

    public Task<ModuleStatus?> TryGetStatusAsync() => _pair.Api.TryGetModuleAsync(PolluxPair.Cluster, Name);

    /// <summary>Waits for a state of the module as the control plane shows it.</summary>
    public async Task<ModuleStatus> WaitForAsync(string what, TimeSpan deadline, Func<ModuleStatus, bool> condition)
    {
        ModuleStatus? last = null;
        return await Eventually.GetAsync(what, deadline, async () =>
        {
            last = await TryGetStatusAsync() ?? last;
            return last is not null && condition(last) ? last : null;
        }, () => last?.ToString() ?? "no answer of the control plane", TimeSpan.FromMilliseconds(100));
    }

    /// <summary>Waits until both hosts say that they are in sync, and have said so after a moment.</summary>
    /// <param name="since">What was said before it does not count; the beginning of this wait if null.</param>
    public Task<ModuleStatus> WaitUntilMirroredAsync(TimeSpan deadline, DateTimeOffset? since = null)
    {
        var begun = since ?? DateTimeOffset.UtcNow;
        return WaitForAsync("both hosts are in sync (PRIM and SECOND, ready)", deadline, status => status.IsMirrored && status.IsHeardSince(begun));
    }

    /// <summary>Waits for what a host says of the module by its own command, the control plane being in reach or not.</summary>
    public async Task WaitForLocalAsync(string what, LabHost host, TimeSpan deadline, Func<LocalModule, bool> condition)
    {
        LocalModule? last = null;
        await Eventually.TrueAsync(what, deadline, async () =>
        {
            last = (await _pair.TryGetLocalStatusAsync(host))?.On(Name) ?? last;
            return last is not null && condition(last);
        }, () => last?.ToString() ?? $"no answer of {host.Name}", TimeSpan.FromMilliseconds(200));
    }

    /// <summary>Waits until the guest on one host, in its newest boot, has acknowledged this many more records.</summary>
    public async Task WaitForRecordsAsync(string host, ulong more)
    {
        var goal = AcknowledgedMax + more;
        await ExplainAsync(Eventually.GetAsync($"the guest on {host} acknowledges record {goal}", BootMax,
            () => Task.FromResult(Serials[host].AcknowledgedMax >= goal ? host : null), () => Describe(host)));
    }

    /// <summary>Waits for a boot on a host that began at or after a moment, and for its first acknowledged record.</summary>
    public Task<GuestBoot> WaitForBootAsync(string host, DateTimeOffset since) =>
        ExplainAsync(Eventually.GetAsync($"the guest boots on {host} and writes", BootMax,
            () => Task.FromResult(Serials[host].Last is { Acknowledged: not null } boot && boot.FirstOutputAt >= since ? boot : null),
            () => Describe(host)));

    /// <summary>The path of a host's copy, as the machine sees it: the files below the mount.</summary>
    public string CopyOn(string host) => _pair.Machines[host].OnMachine(_guest.Folder);

    /// <summary>Stops the mirrored module and checks all that must hold after any fault: never two hosts running it, no acknowledged
    /// record lost, both copies equal.</summary>
    /// <returns>What is wrong, one sentence each; empty when all is well.</returns>
    public async Task<ModuleVerdict> JudgeAsync()
    {
        await StopInSyncAsync();
        var wrong = new List<string>(WrongSoFar());
        ulong lost = 0;
        foreach (var host in _pair.Machines.Hosts)
        {
            var scan = RecordFile.Scan(Path.Combine(CopyOn(host.Name), GuestDomain.DiskFile), _guest.Slots);
            if (!scan.IsWhole)
                wrong.Add($"The records on {host.Name} are not whole: {scan}");
            var lostHere = Serials.Values.SelectMany(serial => serial.Boots).Where(boot => boot.Acknowledged is not null)
                .SelectMany(boot => scan.LostOf(boot.Acknowledged!.Value)).ToList();
            if (lostHere.Count > 0)
                wrong.Add($"{lostHere.Count} acknowledged records are not on {host.Name}, first {lostHere[0]} (highest there {scan.Max}).");
            lost = Math.Max(lost, (ulong)lostHere.Count);
        }
        wrong.AddRange((await DirectoryComparison.CompareAsync(CopyOn(_pair.Machines.Hosts[0].Name), CopyOn(_pair.Machines.Hosts[1].Name)))
            .Select(text => "The copies differ: " + text));
        return new ModuleVerdict(lost, wrong);
    }

    /// <summary>What can be judged while the VM runs: never two hosts running it, and each boot of the guest found all that was acknowledged
    /// before it.</summary>
    /// <returns>What is wrong, one sentence each.</returns>
    public IReadOnlyList<string> WrongSoFar()
    {
        var wrong = new List<string>(Observer.Violations.Select(static text => "Two hosts ran the VM: " + text));
        wrong.AddRange(Serials.Values.SelectMany(static serial => serial.Oddities));
        var acknowledged = 0ul;
        foreach (var boot in Serials.Values.SelectMany(static serial => serial.Boots).OrderBy(static boot => boot.FirstOutputAt))
        {
            if (boot.FoundBad > 0 || boot.FoundMissing > 0)
                wrong.Add($"The guest's own scan on {boot.Host} found {boot.FoundBad} bad and {boot.FoundMissing} missing records.");
            if (boot.FoundMax < acknowledged)
                wrong.Add($"The guest on {boot.Host} found record {boot.FoundMax}, and {acknowledged} was acknowledged before.");
            acknowledged = Math.Max(acknowledged, boot.Acknowledged?.Last ?? 0);
        }
        return wrong;
    }

    /// <summary>Stops the module with both copies in sync. A peer that falls behind during the stop, on a busy machine, is left out as it
    /// has to be: then the copies may differ, and the stop is done again.</summary>
    private async Task StopInSyncAsync()
    {
        for (var left = StopsMax; ; left--)
        {
            await StopAsync();
            var status = await TryGetStatusAsync();
            if (status is { BothInSync: true })
                return;
            if (left == 1)
                throw new LabException($"Stopped {StopsMax} times, and never with both hosts in sync: {status}");
            var since = DateTimeOffset.UtcNow;
            await StartAsync();
            await WaitUntilMirroredAsync(InSyncMax, since);
        }
    }

    /// <summary>What the guest's console and its process on a host look like, for messages.</summary>
    private string Describe(string host) =>
        $"console of {host}: {Serials[host].Last?.ToString() ?? "silent"}; "
        + string.Join("; ", _pair.Machines.Hosts.Select(one => $"process on {one.Name}: "
            + (ExecutionObserver.ProcessOf(one, Name) is { } id ? $"{id}, threads {ProcFs.Threads(id)}" : "none")));

    /// <summary>A failed wait for the guest says what the product thinks of it, too.</summary>
    private async Task<T> ExplainAsync<T>(Task<T> wait)
    {
        try
        {
            return await wait;
        }
        catch (LabException e)
        {
            throw new LabException($"{e.Message}; the control plane says: {(await TryGetStatusAsync())?.ToString() ?? "nothing"}");
        }
    }

    public async ValueTask DisposeAsync()
    {
        await Observer.DisposeAsync();
        foreach (var serial in Serials.Values)
            await serial.DisposeAsync();
    }
}

/// <param name="LostRecords">Acknowledged records that one of the copies does not hold.</param>
/// <param name="Wrong">Everything that must not be, one sentence each.</param>
public sealed record ModuleVerdict(ulong LostRecords, IReadOnlyList<string> Wrong);
