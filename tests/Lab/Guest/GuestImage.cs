using System.IO.Compression;
using System.Security.Cryptography;
using System.Text;

namespace Pollux.Lab.Guest;

/// <summary>The lab's guest: Debian's own kernel and an initramfs of busybox, the virtio drivers and the record writer.
/// <c>eng/setup</c> fetches the kernel into the ignored folder out/guest; the initramfs is built here.</summary>
public sealed record GuestImage(string KernelPath, string InitramfsPath)
{
    /// <summary>In the order in which the guest loads them; button and evdev make the power button work.</summary>
    private static readonly string[] Modules =
        ["virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk", "button", "evdev"];

    private static readonly string[] Applets = ["sh", "mount", "insmod", "cat", "echo", "poweroff", "sleep"];

    public static string Folder => Path.Combine(Repository.Root, "out", "guest");

    /// <summary>Why the guest cannot be had; null when it can.</summary>
    public static string? MissingReason() =>
        !File.Exists(Path.Combine(Folder, "kernel")) || !File.Exists(Path.Combine(Folder, "modules", "evdev.ko"))
            ? "the guest's kernel is not in out/guest (run eng/setup)"
            : null;

    /// <summary>Builds the initramfs unless it is there already, made of the same inputs.</summary>
    /// <exception cref="LabException">An input is missing, or the record writer does not compile.</exception>
    public static async Task<GuestImage> BuildAsync()
    {
        if (MissingReason() is { } reason)
            throw new LabException($"No guest: {reason}.");
        var image = new GuestImage(Path.Combine(Folder, "kernel"), Path.Combine(Folder, "initramfs"));
        var writerSource = Resource("recwriter.c");
        var init = Resource("init.sh");
        var modules = Modules.ToDictionary(name => name, name => File.ReadAllBytes(Path.Combine(Folder, "modules", name + ".ko")));
        var busybox = await File.ReadAllBytesAsync(StaticBusybox());

        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (var input in modules.Values.Append(busybox).Append(writerSource).Append(init))
            hash.AppendData(input);
        var stamp = Convert.ToHexString(hash.GetHashAndReset());
        var stampPath = image.InitramfsPath + ".inputs";
        if (File.Exists(image.InitramfsPath) && File.Exists(stampPath) && await File.ReadAllTextAsync(stampPath) == stamp)
            return image;

        var writer = await CompileAsync(writerSource);
        var partPath = image.InitramfsPath + ".part";
        await using (var file = File.Create(partPath))
        await using (var zip = new GZipStream(file, CompressionLevel.Optimal))
            Pack(new CpioArchive(zip), busybox, writer, init, modules);
        File.Move(partPath, image.InitramfsPath, overwrite: true);
        await File.WriteAllTextAsync(stampPath, stamp);
        return image;
    }

    private static void Pack(
        CpioArchive archive, byte[] busybox, byte[] writer, byte[] init, IReadOnlyDictionary<string, byte[]> modules)
    {
        foreach (var directory in new[] { "bin", "dev", "proc", "sys", "modules" })
            archive.AddDirectory(directory);
        archive.AddProgram("bin/busybox", busybox);
        foreach (var applet in Applets)
            archive.AddLink("bin/" + applet, "busybox");
        archive.AddProgram("bin/recwriter", writer);
        archive.AddProgram("init", init);
        foreach (var (name, content) in modules)
            archive.AddFile($"modules/{name}.ko", content);
        archive.AddFile("modules/order", Encoding.ASCII.GetBytes(string.Join('\n', Modules) + '\n'));
        archive.Complete();
    }

    private static async Task<byte[]> CompileAsync(byte[] source)
    {
        var scratch = Directory.CreateTempSubdirectory("pollux-guest-");
        try
        {
            var sourcePath = Path.Combine(scratch.FullName, "recwriter.c");
            var programPath = Path.Combine(scratch.FullName, "recwriter");
            await File.WriteAllBytesAsync(sourcePath, source);
            await Shell.CheckAsync("gcc", "-std=gnu11", "-O2", "-Wall", "-Werror", "-static", "-s", "-o", programPath, sourcePath);
            return await File.ReadAllBytesAsync(programPath);
        }
        finally
        {
            scratch.Delete(recursive: true);
        }
    }

    private static string StaticBusybox() =>
        new[] { "/bin/busybox", "/usr/bin/busybox" }.FirstOrDefault(File.Exists)
        ?? throw new LabException("busybox is missing: run eng/setup.");

    private static byte[] Resource(string name)
    {
        using var stream = typeof(GuestImage).Assembly.GetManifestResourceStream(name)
            ?? throw new InvalidOperationException($"The program was built without its resource {name}.");
        using var copy = new MemoryStream();
        stream.CopyTo(copy);
        return copy.ToArray();
    }
}
