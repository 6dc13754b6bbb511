using System.Diagnostics;
using System.Globalization;
using System.Net;

namespace Pollux.Lab.Machines;

/// <summary>
/// A host of the lab: network, mount, process, UTS and IPC namespaces of its own, private /run, libvirt folders and Pollux
/// folders, optionally its own libvirtd. Its disks are folders below <see cref="Folder"/> that survive a power-off; /run
/// does not. The host's root file system is the machine's.
/// </summary>
public sealed class LabHost
{
    /// <summary>Where modules lie, on every host alike.</summary>
    public const string ModulesFolder = "/var/lib/pollux-vms";

    private static readonly TimeSpan StartMax = TimeSpan.FromSeconds(20);

    /// <summary>Folder below the host's own → where the host sees it.</summary>
    private static readonly (string Folder, string Mount)[] Mounts =
    [
        ("run", "/run"),
        ("libvirt-etc", "/etc/libvirt"),
        ("libvirt-lib", "/var/lib/libvirt"),
        ("libvirt-cache", "/var/cache/libvirt"),
        ("libvirt-log", "/var/log/libvirt"),
        ("gluster-lib", "/var/lib/glusterd"),
        ("gluster-log", "/var/log/glusterfs"),
        ("pollux", "/var/lib/pollux"),
        ("pollux-host", "/var/lib/pollux-host"),
        ("vms", ModulesFolder),
    ];

    private readonly LabNetwork _network;
    private readonly IReadOnlyDictionary<string, IPAddress> _names;
    private readonly int _number;
    private readonly bool _withLibvirt;
    private readonly List<LabProcess> _processes = [];
    private int? _init;

    internal LabHost(LabNetwork network, string name, int number, string folder, bool withLibvirt,
        IReadOnlyDictionary<string, IPAddress> names)
    {
        _network = network;
        _number = number;
        _withLibvirt = withLibvirt;
        _names = names;
        Name = name;
        Folder = folder;
    }

    public string Name { get; }

    public string Folder { get; }

    public IPAddress Address => _network.AddressOf(_number);

    /// <summary>On the second network.</summary>
    public IPAddress SecondAddress => _network.AddressOf(_number, network: 2);

    public bool IsOn => _init is { } id && ProcFs.IsAlive(id);

    /// <summary>The namespace's init as seen from outside.</summary>
    public int InitProcessId => _init ?? throw new LabException($"Host {Name} is switched off.");

    public string LibvirtUri => $"qemu+unix:///system?socket={Folder}/run/libvirt/libvirt-sock";

    /// <summary>Where a file of the host lies for the machine. Below a Pollux mount this is the covered file itself.</summary>
    public string OnMachine(string pathOnHost)
    {
        foreach (var (folder, mount) in Mounts)
            if (pathOnHost == mount || pathOnHost.StartsWith(mount + "/", StringComparison.Ordinal))
                return Path.Combine(Folder, folder) + pathOnHost[mount.Length..];
        return pathOnHost;
    }

    /// <summary>Switches the host on: namespaces, cable, mounts and libvirtd. Disks are as they were, /run is empty.</summary>
    public async Task StartAsync()
    {
        if (IsOn)
            throw new LabException($"Host {Name} is on already.");
        PrepareFolders();
        var space = _network.NamespaceOf(Name);
        await Shell.CheckAsync("ip", "netns", "add", space);
        await Shell.CheckAsync("ip", "-n", space, "link", "set", "lo", "up");
        await _network.PlugAsync(Name, _number);
        await StartInitAsync(space);
        if (_withLibvirt)
            await StartLibvirtAsync();
    }

    /// <summary>Power-off: the cable is out, every process of the host dies at once, its network state is gone.
    /// What was written but not flushed survives, because the machine's page cache does.</summary>
    /// <returns>The moment before which the host was whole: what follows is measured from it, not from when the last process was reaped,
    /// which takes a second or more.</returns>
    public async Task<DateTimeOffset> PowerOffAsync()
    {
        var init = InitProcessId;
        var at = DateTimeOffset.UtcNow;
        await _network.UnplugAsync(Name);
        Signals.Send(init, Signals.Kill);
        foreach (var process in _processes)
            process.LetGo();
        await Eventually.TrueAsync($"every process of {Name} is gone", TimeSpan.FromSeconds(10), () => !ProcFs.IsAlive(init));
        await Shell.CheckAsync("ip", "netns", "del", _network.NamespaceOf(Name));
        _init = null;
        foreach (var process in _processes)
            await process.DisposeAsync();
        _processes.Clear();
        return at;
    }

    /// <summary>Runs a program in the host to its end.</summary>
    public Task<ShellResult> ExecAsync(IReadOnlyList<string> command, TimeSpan? deadline = null) =>
        Shell.RunAsync(["nsenter", "-t", $"{InitProcessId}", "-n", "-m", "-u", "-i", "-p", "--", .. command], deadline);

    public async Task<ShellResult> CheckAsync(params string[] command) => (await ExecAsync(command)).OrThrow();

    /// <summary>Starts a long-running program in the host; its output goes to NAME.log in the host's folder "logs".</summary>
    public LabProcess Spawn(string name, IReadOnlyList<string> command, IReadOnlyDictionary<string, string>? environment = null)
    {
        var process = LabProcess.Start($"{name} on {Name}", InitProcessId, Path.Combine(Folder, "logs", name + ".log"), command,
            environment ?? new Dictionary<string, string>());
        _processes.Add(process);
        return process;
    }

    /// <summary>The host's processes whose command line contains a text; ids as the machine sees them.</summary>
    public async Task<IReadOnlyList<int>> ProcessesAsync(string text) =>
        [.. (await Shell.CheckAsync("ip", "netns", "pids", _network.NamespaceOf(Name))).Output
            .Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => int.Parse(line, CultureInfo.InvariantCulture))
            .Where(id => ProcFs.CommandLine(id).Contains(text, StringComparison.Ordinal))];

    public Task<ShellResult> VirshAsync(params string[] arguments) => ExecAsync(["virsh", "-q", .. arguments]);

    private void PrepareFolders()
    {
        var run = Path.Combine(Folder, "run");
        if (Directory.Exists(run))
            Directory.Delete(run, recursive: true);
        foreach (var (folder, mount) in Mounts)
        {
            Directory.CreateDirectory(Path.Combine(Folder, folder));
            Directory.CreateDirectory(mount);
        }
        // Without its own name in /etc/hosts libvirt waits for DNS for many seconds.
        File.WriteAllLines(Path.Combine(Folder, "hosts"),
            [$"127.0.0.1 localhost", .. _names.Select(pair => $"{pair.Value} {pair.Key}")]);
        if (_withLibvirt)
            LibvirtConfiguration.Write(Path.Combine(Folder, "libvirt-etc"));
    }

    private async Task StartInitAsync(string space)
    {
        var ready = Path.Combine(Folder, "run", "lab-ready");
        var mounts = string.Concat(Mounts.Append(("hosts", "/etc/hosts")).Select(pair => $"mount --rbind '{Folder}/{pair.Item1}' {pair.Item2}\n"));
        // This host's mounts begin as a copy of all others: a file system of another host would live on here after that host has unmounted it.
        var foreign = $"while read -r _ m _; do case $m in '{Folder}'/*) ;; '{LabFolder.Root}'/*) umount -l \"$m\" || true ;; esac; done <<<\"$(cat /proc/self/mounts)\"\n";
        var script = $"set -e\nhostname {Name}\n{foreign}{mounts}touch /run/lab-ready\nset +e\nwhile :; do sleep 86400 & wait $!; done\n";
        var start = new ProcessStartInfo("setsid");
        foreach (var argument in (string[])["bash", "-c", "exec </dev/null >\"$0\" 2>&1; exec \"$@\"", Path.Combine(Folder, "init.log"),
                     "ip", "netns", "exec", space, "unshare", "-m", "-u", "-i", "-p", "-f", "--mount-proc", "--propagation", "private",
                     "bash", "-c", script])
            start.ArgumentList.Add(argument);
        var outer = Process.Start(start) ?? throw new LabException($"Host {Name} did not start.");
        try
        {
            await Eventually.TrueAsync($"host {Name} is up", StartMax, () => File.Exists(ready) || outer.HasExited,
                () => File.ReadAllText(Path.Combine(Folder, "init.log")));
            if (outer.HasExited)
                throw new LabException($"Host {Name} did not start: {await File.ReadAllTextAsync(Path.Combine(Folder, "init.log"))}");
            _init = ProcFs.ChildrenOf(outer.Id).Single();
        }
        finally
        {
            outer.Dispose();
        }
    }

    private async Task StartLibvirtAsync()
    {
        await CheckAsync("mkdir", "-p", "/run/libvirt");
        await CheckAsync("libvirtd", "-d", "-p", "/run/libvirt/libvirtd.pid");
        await Eventually.TrueAsync($"libvirt on {Name} answers", StartMax, async () => (await VirshAsync("list")).Succeeded);
    }
}
