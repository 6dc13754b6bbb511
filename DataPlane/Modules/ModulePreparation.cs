using System.Text;
using Pollux.DataPlane.Fuse;
using Pollux.DataPlane.Hypervisor;
using Pollux.DataPlane.Native;
using Pollux.HostProtocol;

namespace Pollux.DataPlane.Modules;

/// <summary>Whether a module can live on this host. Looks only: nothing lasting is changed.</summary>
/// <param name="Directories">Absolute paths, the same on both hosts.</param>
/// <param name="HoldsData">This is the host whose directories become the module.</param>
/// <param name="ContentBytes">Allocated bytes of each of the initial host's directories; needed on the other host.</param>
/// <param name="Others">Directories of the other modules of this host.</param>
/// <param name="OtherModules">Their number.</param>
internal sealed record PreparationQuestion(
    string Module, IReadOnlyList<string> Directories, VmSpec? Vm, bool HoldsData, IReadOnlyList<long> ContentBytes,
    IReadOnlyCollection<string> Others, int OtherModules, int ModulesMax);

/// <summary>The checks before a module is accepted, each with what to do if it fails.</summary>
internal static class ModulePreparation
{
    /// <summary>Most modules on a host: a policy of the cluster, checked here too since descriptors and memory are this host's.</summary>
    public const int ModulesMaxDefault = 32;

    /// <summary>Entries looked at when a directory's content is measured; more makes the measuring slow.</summary>
    private const int EntriesMax = 1_000_000;

    private static readonly byte[] ProbeName = "trusted.pollux.probe\0"u8.ToArray();

    public static async Task<PreparationVerdict> CheckAsync(PreparationQuestion question, IHypervisor hypervisor, CancellationToken cancel)
    {
        try
        {
            var problem = Directories(question) ?? (question.HoldsData ? Source(question) : Target(question)) ?? Nested(question)
                ?? (question.Vm is { } vm ? await VmAsync(question, vm, hypervisor, cancel).ConfigureAwait(false) : null)
                ?? question.Directories.Select(directory => TrustedXattrs(Existing(directory))).FirstOrDefault(static problem => problem is not null);
            return new PreparationVerdict(problem is null, problem);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or FuseException)
        {
            return new PreparationVerdict(false, Refusal("module.directory-unusable", "The directory cannot be used",
                $"{string.Join(", ", question.Directories)}: {e.Message}", "Mend the file system, or choose another directory."));
        }
    }

    /// <summary>Allocated bytes of everything in a directory: what the other host needs room for.</summary>
    public static unsafe long ContentBytes(string directory)
    {
        long bytes = 0;
        var entries = 0;
        foreach (var path in Directory.EnumerateFileSystemEntries(directory, "*",
            new EnumerationOptions { RecurseSubdirectories = true, AttributesToSkip = 0, IgnoreInaccessible = false }))
        {
            if (++entries > EntriesMax)
                throw new IOException($"more than {EntriesMax} files");
            Statx stat;
            fixed (byte* name = Encoding.UTF8.GetBytes(path + '\0'))
            {
                // STATX_BLOCKS (linux/stat.h); a file that went meanwhile needs no room.
                if (Libc.StatxAt(Libc.AtCurrentDirectory, name, Libc.AtSymlinkNoFollow, 0x400, &stat) == 0)
                    bytes += (long)stat.Blocks512 * 512;
            }
        }

        return bytes;
    }

    private static ObservedProblem? Directories(PreparationQuestion question)
    {
        if (question.OtherModules >= question.ModulesMax)
        {
            return Refusal("module.limit", "Too many modules", $"This host has {question.OtherModules} modules; the limit is {question.ModulesMax}.",
                "Delete a module, or use another cluster.");
        }

        if (question.Directories.Count is < 1 or > DesiredModule.DirectoriesMax)
        {
            return Refusal("module.directories-max", "Too many directories",
                $"The module would have {question.Directories.Count} directories; {DesiredModule.DirectoriesMax} are the most.",
                "Put several disks into one directory, or several directories below one.");
        }

        foreach (var directory in question.Directories)
        {
            if (!Path.IsPathFullyQualified(directory) || Path.GetFullPath(directory) != directory || directory.EndsWith('/'))
            {
                return Refusal("module.directory-invalid", "Not a usable path", $"'{directory}' is not an absolute path without '.', '..' or a slash at its end.",
                    "Give the full path of a directory.");
            }

            if (question.Others.FirstOrDefault(other => Overlap(directory, other)) is { } taken)
            {
                return Refusal("module.directory-taken", "The directory belongs to a module already",
                    $"{directory} is, contains or lies in {taken}, the directory of another module.", "Choose another directory.");
            }
        }

        return Overlapping(question.Directories, question.Directories);
    }

    /// <summary>The same once more with symbolic links resolved, as far as the directories are there.</summary>
    private static ObservedProblem? Nested(PreparationQuestion question) =>
        Overlapping(question.Directories, [.. question.Directories.Select(Real)]);

    private static ObservedProblem? Overlapping(IReadOnlyList<string> names, IReadOnlyList<string> paths)
    {
        for (var i = 0; i < paths.Count; i++)
        {
            for (var j = 0; j < i; j++)
            {
                if (Overlap(paths[i], paths[j]))
                {
                    return Refusal("module.directories-overlap", "The directories overlap", $"{names[j]} and {names[i]} are the same, or one lies inside the other.",
                        "Name each directory once; a directory is replicated with all that is below it.");
                }
            }
        }

        return null;
    }

    private static ObservedProblem? Source(PreparationQuestion question)
    {
        if (question.Directories.FirstOrDefault(directory => !Directory.Exists(directory)) is not { } missing)
            return null;
        return Refusal("module.directory-missing", "The directory does not exist",
            $"There is no directory {missing} on this host, which should hold the data.",
            "Create it and put the VM's files in it, or name the host that has it with --primary.");
    }

    private static ObservedProblem? Target(PreparationQuestion question)
    {
        foreach (var directory in question.Directories)
        {
            var exists = Directory.Exists(directory);
            if (File.Exists(directory) || (exists && Directory.EnumerateFileSystemEntries(directory).Any(entry => Path.GetFileName(entry) != "lost+found")))
            {
                return Refusal("module.directory-not-empty", "The directory is in use on the other host",
                    $"{directory} on this host, which is to receive the copy, is not empty.",
                    "Move its content away, or choose another directory. Pollux does not overwrite files that it did not write.");
            }
        }

        // Directories on one file system share its room.
        foreach (var together in question.Directories.Zip(question.ContentBytes).GroupBy(pair => FileSystemOf(Existing(pair.First))))
        {
            var at = Existing(together.First().First);
            var free = new DriveInfo(at).AvailableFreeSpace;
            var content = together.Sum(pair => pair.Second);
            // One tenth more: directories and extents are laid out anew.
            if (free < content + content / 10)
            {
                return Refusal("module.no-room", "Not enough room on the other host",
                    $"{string.Join(" and ", together.Select(pair => pair.First))} has {Mebibytes(content)} of data; the file system of {at} on this host has {Mebibytes(free)} free.",
                    "Make room on this host, or choose a directory on a larger file system.");
            }
        }

        return null;
    }

    private static unsafe ulong FileSystemOf(string directory)
    {
        Statx stat;
        fixed (byte* name = Encoding.UTF8.GetBytes(directory + '\0'))
            return Libc.StatxAt(Libc.AtCurrentDirectory, name, 0, 0, &stat) == 0 ? stat.FileSystem
                : throw new IOException($"stat of {directory}: {Errno.Describe(Libc.LastErrno)}");
    }

    /// <summary>The directory itself, or the nearest one above it that is there.</summary>
    private static string Existing(string directory)
    {
        while (!Directory.Exists(directory))
            directory = Path.GetDirectoryName(directory)!;
        return directory;
    }

    /// <summary>Asks the file system by setting an attribute, and takes it away again.</summary>
    private static unsafe ObservedProblem? TrustedXattrs(string directory)
    {
        fixed (byte* path = Encoding.UTF8.GetBytes(directory + '\0'), name = ProbeName)
        {
            byte value = 1;
            if (Libc.LSetXattr(path, name, &value, 1, 0) == 0)
            {
                _ = Libc.LRemoveXattr(path, name);
                return null;
            }
        }

        return Refusal("module.no-xattrs", "The file system cannot hold identities",
            $"{directory}: trusted extended attributes do not work here ({Errno.Describe(Libc.LastErrno)}).",
            "Use ext4, XFS or btrfs, and run pollux-host as root.");
    }

    private static async Task<ObservedProblem?> VmAsync(
        PreparationQuestion question, VmSpec vm, IHypervisor hypervisor, CancellationToken cancel)
    {
        if (await hypervisor.DescribeAsync(cancel).ConfigureAwait(false) is null)
        {
            return Refusal("vm.no-hypervisor", "No hypervisor answers", "libvirt does not answer on this host (virsh version).",
                "Install and start libvirt (libvirtd), then try again.");
        }

        if (!question.HoldsData)
        {
            var status = await hypervisor.LookAsync(vm.Domain, cancel).ConfigureAwait(false);
            return status.State is DomainState.Running or DomainState.Paused
                ? Refusal("vm.domain-taken", "A VM of this name runs on the other host", $"The domain '{vm.Domain}' runs on this host already.",
                    "Stop it, or give the module's VM another name.")
                : null;
        }

        var file = Path.Combine(question.Directories[0], vm.DefinitionFile);
        if (!File.Exists(file))
        {
            return Refusal("vm.definition-missing", "The VM's definition is not in the directory", $"There is no file {file}.",
                $"Write it: virsh dumpxml --inactive {vm.Domain} > {file}");
        }

        string definition;
        try
        {
            if (new FileInfo(file).Length > DomainDefinition.BytesMax)
                throw new FormatException($"it is larger than {DomainDefinition.BytesMax} bytes");
            definition = DomainDefinition.Complete(await File.ReadAllTextAsync(file, cancel).ConfigureAwait(false), vm.Domain, question.Module);
        }
        catch (FormatException e)
        {
            return Refusal("vm.definition-invalid", "The VM's definition is not valid", $"{file}: {e.Message}.", "Correct the file, then try again.");
        }

        if (StorageOutside(definition, question.Directories) is { } outside)
        {
            return Refusal(OutsideCode, OutsideTitle, $"{file} names {outside}; that is on this host only.", OutsideAction(question.Directories[0]));
        }

        var running = await hypervisor.LookAsync(vm.Domain, cancel).ConfigureAwait(false);
        if (running.State is DomainState.Running or DomainState.Paused)
        {
            return Refusal("vm.running", "The VM runs", $"The domain '{vm.Domain}' runs on files that are to be replicated.",
                $"Stop it first: virsh shutdown {vm.Domain}. Pollux starts it again.");
        }

        var answer = await hypervisor.ValidateAsync(definition, cancel).ConfigureAwait(false);
        return answer.Outcome switch
        {
            CallOutcome.Done => null,
            CallOutcome.Refused => Refusal("vm.definition-refused", "libvirt refuses the VM's definition", $"{file}: {answer.Text}",
                "Correct the definition; 'virsh define --validate' shows the same."),
            _ => Refusal("vm.no-hypervisor", "No hypervisor answers", answer.Text, "Check libvirt on this host, then try again."),
        };
    }

    internal const string OutsideCode = "vm.storage-outside";
    internal const string OutsideTitle = "The VM's storage is not in the module's directory";

    internal static string OutsideAction(string directory) =>
        $"Move it into {directory} and correct the definition; give a medium that the VM can do without startupPolicy='optional'.";

    /// <summary>What the other host has no copy of, by name, for people.</summary>
    /// <param name="definition">As <see cref="DomainDefinition.Complete"/> gave it.</param>
    /// <returns>Null if there is nothing.</returns>
    internal static string? StorageOutside(string definition, IReadOnlyList<string> directories)
    {
        var outside = DomainDefinition.LocalStorage(definition)
            .Where(one => !directories.Any(directory => Inside(Real(one.Path), Real(directory)))).ToList();
        return outside.Count > 0 ? string.Join(", ", outside.Select(static one => $"{one.What}: {one.Path}")) : null;
    }

    /// <summary>A path with symbolic links resolved, as far as it is there.</summary>
    private static string Real(string path)
    {
        if (!Path.IsPathFullyQualified(path))
            return path;
        if (new FileInfo(path) is { LinkTarget: not null } link)
            path = link.ResolveLinkTarget(returnFinalTarget: true)!.FullName;
        path = Path.GetFullPath(path);
        var there = Existing(path);
        return CoveredDirectory.Resolve(there).TrimEnd('/') + path[there.TrimEnd('/').Length..];
    }

    private static bool Inside(string path, string directory) =>
        path == directory || path.StartsWith(directory.TrimEnd('/') + "/", StringComparison.Ordinal);

    private static bool Overlap(string one, string other) => Inside(one, other) || Inside(other, one);

    private static string Mebibytes(long bytes) => $"{bytes / (1024 * 1024)} MiB";

    private static ObservedProblem Refusal(string code, string title, string cause, string action) =>
        new(code, title, "The module was not created; nothing was changed.", cause, action);
}
