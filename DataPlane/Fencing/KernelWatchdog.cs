using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;
using Pollux.DataPlane.Native;

namespace Pollux.DataPlane.Fencing;

/// <summary>A watchdog device of Linux (Documentation/watchdog/watchdog-api.rst).</summary>
/// <remarks>
/// The kernel arms the device when it is opened and lets one process have it. This opens it once, stops it, and keeps it, so that nobody else
/// has it when it is needed. It is closed in order only by <see cref="Dispose"/>, after the letter V ("magic close"): a holder that dies while
/// it is armed leaves it counting. So a driver without magic close, and one that cannot be stopped (nowayout), are refused before the
/// first is opened: opening alone would reset the host.
/// </remarks>
public sealed unsafe partial class KernelWatchdog : IWatchdogDevice
{
    public const string ClassDirectoryDefault = "/sys/class/watchdog";

    // linux/watchdog.h: _IOR('W', 0, struct watchdog_info), _IOR('W', 4, int), _IOR('W', 5, int), _IOWR('W', 6, int), _IOR('W', 7, int) in the
    // generic ioctl encoding.
    private const uint GetSupport = 0x80285700;
    private const uint SetOptions = 0x80045704;
    private const uint KeepAlive = 0x80045705;
    private const uint SetTimeout = 0xC0045706;
    private const uint GetTimeout = 0x80045707;
    private const int DisableCard = 1;
    private const int EnableCard = 2;
    private const uint MagicClose = 0x100;

    private readonly string _path;
    private readonly SafeFileHandle _file;

    private KernelWatchdog(string path, SafeFileHandle file, long timeoutMs) => (_path, _file, TimeoutMs) = (path, file, timeoutMs);

    public long TimeoutMs { get; }

    /// <summary>Says what is wrong with the device as far as that can be seen without opening it; null: nothing.</summary>
    public static string? Refusal(string path, string classDirectory = ClassDirectoryDefault)
    {
        if (!File.Exists(path))
            return $"{path} does not exist. Load the driver of this machine's watchdog; softdog serves where there is none.";
        // /dev/watchdog is the first one by its older name.
        var name = Path.GetFileName(path) is var given && given == "watchdog" ? "watchdog0" : given;
        string nowayout;
        try
        {
            nowayout = File.ReadAllText(Path.Combine(classDirectory, name, "nowayout")).Trim();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return $"{classDirectory}/{name}/nowayout cannot be read, so it is unknown whether {path} can be stopped: {e.Message}";
        }

        return nowayout == "0" ? null
            : $"{path} cannot be stopped once it is open (nowayout): the host could not end pollux-host without a reset. Load its driver with nowayout=0.";
    }

    /// <summary>Opens and stops the device.</summary>
    /// <exception cref="WatchdogException">Busy, or not fit for this.</exception>
    public static KernelWatchdog Open(string path, long timeoutMs)
    {
        if (Refusal(path) is { } refusal)
            throw new WatchdogException(refusal);
        SafeFileHandle file;
        try
        {
            file = File.OpenHandle(path, FileMode.Open, FileAccess.Write, FileShare.ReadWrite);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new WatchdogException($"{path} cannot be opened ({e.Message}). If another program has it, end that: systemd's RuntimeWatchdogSec=, watchdog(8), sbd.", e);
        }

        try
        {
            var fileNumber = (int)file.DangerousGetHandle();
            var info = default(Info);
            // SAFETY: the kernel fills at most sizeof(Info) bytes, whose size is part of the request's number.
            Check(path, "describe itself", Ioctl(fileNumber, GetSupport, &info));
            Options(path, file, DisableCard);
            if ((info.Options & MagicClose) == 0)
                throw new WatchdogException($"The driver of {path} stops the device whenever its holder dies (no magic close): it would not reset a host without a guard.");
            var seconds = (int)Math.Min(int.MaxValue, (timeoutMs + 999) / 1000);
            // SAFETY: both requests read and write one int.
            Check(path, $"take a timeout of {seconds} s", Ioctl(fileNumber, SetTimeout, &seconds));
            Check(path, "tell its timeout", Ioctl(fileNumber, GetTimeout, &seconds));
            if (seconds * 1000L > timeoutMs)
                throw new WatchdogException($"{path} takes no timeout below {seconds} s, and {timeoutMs / 1000.0:0.#} s are configured.");
            return new KernelWatchdog(path, file, seconds * 1000L);
        }
        catch
        {
            // Stopped, or refused to stop: the letter lets the driver stop it at the close in any case.
            Close(file);
            throw;
        }
    }

    public void Arm() => Translate(() => Options(_path, _file, EnableCard));

    public void Feed() => Translate(() =>
    {
        var unused = 0;
        // SAFETY: the request takes no argument; the pointer is to an int all the same, as its number says.
        Check(_path, "be fed", Ioctl((int)_file.DangerousGetHandle(), KeepAlive, &unused));
    });

    public void Disarm() => Translate(() => Options(_path, _file, DisableCard));

    public void Dispose() => Close(_file);

    private static void Close(SafeFileHandle file)
    {
        if (file.IsClosed)
            return;
        try
        {
            RandomAccess.Write(file, Encoding.ASCII.GetBytes("V"), 0);
        }
        catch (IOException)
        {
            // A device that takes no bytes is stopped already, or resets the host: nothing is left to be done about it here.
        }

        file.Dispose();
    }

    private static void Options(string path, SafeFileHandle file, int options)
    {
        // SAFETY: the request reads one int.
        Check(path, options == EnableCard ? "start" : "stop", Ioctl((int)file.DangerousGetHandle(), SetOptions, &options));
    }

    private static void Check(string path, string what, int result)
    {
        if (result < 0)
            throw new WatchdogException(string.Create(CultureInfo.InvariantCulture, $"{path} does not {what} (errno {Libc.LastErrno})."));
    }

    private static void Translate(Action call)
    {
        try
        {
            call();
        }
        catch (WatchdogException e)
        {
            throw new IOException(e.Message, e);
        }
    }

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    private static partial int Ioctl(int file, nuint request, void* argument);

    /// <summary>struct watchdog_info, 40 bytes.</summary>
    [StructLayout(LayoutKind.Sequential, Size = 40)]
    private struct Info
    {
        public uint Options;
        public uint Firmware;
    }
}
